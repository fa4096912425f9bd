"""Ray Train, elastic as its guides "Elastic training" and "Saving and Loading Checkpoints" have it."""

import argparse
import os
import tempfile

import ray
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from torch.utils.data import DataLoader

from benchmarks.peers.book import Book
from benchmarks.peers.workload import SNAPSHOT_EVERY, build, options


def train(config: dict):
    args = argparse.Namespace(**config)
    work = build(args)
    model = prepare_model(work.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    context = ray.train.get_context()
    done = 0
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as directory:
            state = torch.load(os.path.join(directory, "state.pt"))
        getattr(model, "module", model).load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    loader = DataLoader(work.dataset, batch_size=args.batch // context.get_world_size(), shuffle=True)
    loader = prepare_data_loader(loader)
    book = Book(args.books)
    while done < args.steps:
        for step, (ids, x, y) in zip(range(done, args.steps), loader, strict=False):
            book.computes(step, ids)
            work.loss(model, x, y).backward()
            optimizer.step()
            optimizer.zero_grad()
            book.commit(step, ids)
            done = step + 1
            if done % SNAPSHOT_EVERY == 0:
                with tempfile.TemporaryDirectory() as directory:
                    checkpoint = None
                    if context.get_world_rank() == 0:
                        weights = getattr(model, "module", model).state_dict()
                        state = {"model": weights, "optimizer": optimizer.state_dict(), "done": done}
                        torch.save(state, os.path.join(directory, "state.pt"))
                        checkpoint = Checkpoint.from_directory(directory)
                    ray.train.report({"done": done}, checkpoint=checkpoint)
    book.end(args.steps, model)


if __name__ == "__main__":
    args = options()
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    least, most = (int(number) for number in os.environ["WORKERS"].split(":"))
    scaling = ScalingConfig(
        num_workers=least if least == most else (least, most),
        elastic_resize_monitor_interval_s=float(os.environ["RESIZE_MONITOR_S"]),
    )
    run = RunConfig(
        storage_path=os.path.join(args.books, "ray"),
        failure_config=FailureConfig(max_failures=-1),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
    )
    TorchTrainer(train, train_loop_config=vars(args), scaling_config=scaling, run_config=run).fit()
