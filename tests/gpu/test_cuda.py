"""The step on a CUDA device: the same numbers as on a CPU. Run with `pytest -m gpu` where there is one."""

import pytest
import torch

from distmatch.networks import Shapes, build
from distmatch.systems import SYSTEMS
from distmatch.training import Feed, Settings, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def trained(system: str, device: str, settings: Settings, steps: int = 5) -> Trainer:
    """A few steps from the same weights, with data and noise that were drawn on the CPU."""
    found = SYSTEMS[system]
    objective = found.objective().over(100)
    shapes = Shapes(x=(1, 28, 28), latent=8, num_classes=10 if found.labels else 0)
    torch.manual_seed(0)
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    options = {"width": 8, "critic_batch_norm": False}
    nets = {p: build("dcgan", p, shapes, likelihood=likelihood, options=options) for p in objective.uses}
    nets |= {
        c: build("dcgan", "critic", shapes, spaces=s, options=options) for c, s in objective.critics.items()
    }
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (64, 1, 28, 28), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 10, (64,), generator=generator) if objective.labels else None
    feed = Feed(objective, x, y, latent=8, batch_size=16, device=device)
    on_cpu = Feed(objective, x, y, latent=8, batch_size=16)
    feed.noise = lambda batch: {k: v.to(device) for k, v in on_cpu.noise(batch.cpu()).items()}  # type: ignore[method-assign]
    trainer = Trainer(objective, nets, feed, settings)
    trainer.run(steps)
    return trainer


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_cuda_device_gives_the_cpus_numbers(system: str) -> None:
    cpu, cuda = (trained(system, device, Settings()) for device in ("cpu", "cuda"))
    for net, params in cpu.state.params.items():
        start = dict(
            cpu.nets[net].named_parameters()
        )  # the modules keep the weights that training began with
        moved = torch.cat([(p - start[k]).flatten() for k, p in params.items()])
        there = torch.cat([(cuda.state.params[net][k].cpu() - start[k]).flatten() for k in params])
        assert (moved - there).norm() < 0.05 * moved.norm()


def test_data_that_fit_live_on_the_device_as_bytes() -> None:
    trainer = trained("vae", "cuda", Settings())
    assert trainer.feed.x.is_cuda
    assert trainer.feed.x.dtype == torch.uint8


@pytest.mark.parametrize("system", ["vae", "wgan-gp"])
def test_bf16_stays_close_to_float32(system: str) -> None:
    full = trained(system, "cuda", Settings()).run(1)
    half = trained(system, "cuda", Settings(precision="bf16")).run(1)
    for name, value in full.items():
        assert half[name] == pytest.approx(value, rel=0.1, abs=0.1), name
