"""The other side of `benchmarks/training.py --pythae`: pythae's own trainer, in a process of its own.

It imports torch and pythae alone. Each line on its input asks for one epoch of pythae's loop over the data; each line
on its output says that the epoch is done. The nets are those of the package's VAE: 784-400-400-20, Bernoulli.
"""

import argparse
import os
import sys
import tempfile

import torch
from torch import nn


def main() -> None:
    """Train when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU())
            self.mean, self.log_var = nn.Linear(400, 20), nn.Linear(400, 20)

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = self.body(x.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            hidden = (nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU())
            self.body = nn.Sequential(*hidden, nn.Linear(400, 784), nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(z).view(-1, 1, 28, 28))

    torch.manual_seed(0)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    model = VAE(model_config=config, encoder=Encoder(), decoder=Decoder())
    size = options.batch * options.steps
    x = torch.randint(0, 256, (size, 1, 28, 28), dtype=torch.uint8).float() / 255
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            learning_rate=1e-3,
            per_device_train_batch_size=options.batch,
            no_cuda=options.device == "cpu",
        )
        trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(size)), training_config=training)
        trainer.prepare_training()
        print("ready", file=answers, flush=True)
        for epoch, _ in enumerate(sys.stdin, 1):
            trainer.train_step(epoch)
            trainer.callback_handler.on_epoch_end(training_config=training)
            print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
