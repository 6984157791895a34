"""A convolutional decoder with an explicit distribution must be able to reach white."""

import torch

from distmatch.data import load, to_unit
from distmatch.networks import Shapes, build
from distmatch.systems import vae
from distmatch.training import Adam, Feed, Settings, Trainer


def test_a_bernoulli_decoder_learns_ink_as_well_as_background():
    """From DCGAN's small weights every pixel stayed below a half: all maps had become background."""
    x = (to_unit(load("digits").train.x) > 0.5).float()
    shapes = Shapes((1, 8, 8), latent=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = {role: build("dcgan", role, shapes, options={"width": 8}) for role in ("encoder", "decoder")}
    trainer = Trainer(vae(), nets, Feed(vae(), x, latent=8, batch_size=64), Settings(model=Adam(lr=2e-3)))
    trainer.run(250)
    trained = trainer.write_back()
    with torch.no_grad():
        mean = trained["decoder"](trained["encoder"](x[:256]).mean).mean
    ink, paper = mean[x[:256] > 0.5].mean(), mean[x[:256] < 0.5].mean()
    assert ink > 0.7
    assert paper < 0.2
