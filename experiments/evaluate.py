"""Measure bits per byte of trained weights over a whole shard.

    python evaluate.py --source train.py --config config.json --weights weights.safetensors
                       --shard validation.bin --raw-bytes N --result result.json

Windows of the config's context, side by side, no overlap. The input is the shard moved by one token, so that every
token is a target exactly once and is predicted from what stands before it in its window, at least the token before it:

    input   0  a  b  c | d  e  f  g | h ...      0: one implicit token 0 before the shard, nothing else is made up
    target  a  b  c  d | e  f  g  h | i ...

The last window is as short as what is left. Nats are summed in float64 over float32 log-softmax, and
val_bpb = nats / ln 2 / raw bytes of text behind the shard.
Exit status: 0 measured (the result file is there), 3 the model answers numbers that are not finite, else an error.
"""

import argparse
import importlib.util
import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_model

BATCH_TOKENS = 4096  # per forward pass on a CPU: the logits stay in cache
BATCH_LOGITS = 2**25  # numbers per forward pass, whatever the vocabulary: 128 MiB of float32
NOT_FINITE = 3  # exit status


def load_source(path):
    """A train.py as a module."""
    spec = importlib.util.spec_from_file_location("candidate_train", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["candidate_train"] = module
    spec.loader.exec_module(module)
    return module


def load_model_of(source, config, vocab_size, weights):
    """The model a train.py builds from `config`, with trained weights (tied ones are stored once)."""
    model = load_source(source).build_model(config, vocab_size)
    load_model(model, weights, strict=True)
    return model.eval()


def read_tokens(path, vocab_size):
    return np.fromfile(path, dtype=np.uint8 if vocab_size <= 256 else np.dtype("<u2"))


@torch.inference_mode()
def total_nats(model, tokens, vocab_size, context, device):
    """Sum over every token of -log p(token | window before it)."""
    inputs = np.concatenate((np.zeros(1, tokens.dtype), tokens[:-1]))
    whole = len(tokens) // context * context
    rows = max(1, min(BATCH_TOKENS if device.type == "cpu" else 2**20, BATCH_LOGITS // vocab_size) // context)
    pieces = [(at, min(at + rows * context, whole), context) for at in range(0, whole, rows * context)]
    if whole < len(tokens):
        pieces.append((whole, len(tokens), len(tokens) - whole))
    nats = 0.0
    for begin, end, length in pieces:
        batch = torch.from_numpy(inputs[begin:end].astype(np.int64)).view(-1, length).to(device)  # (B, T)
        targets = torch.from_numpy(tokens[begin:end].astype(np.int64)).to(device)
        logits = model(batch).float().flatten(0, 1)  # (B*T, V)
        assert logits.shape == (end - begin, vocab_size), f"logits of shape {tuple(logits.shape)}"
        nats += F.cross_entropy(logits, targets, reduction="none").double().sum().item()
        if not math.isfinite(nats):
            print(f"the model answers numbers that are not finite before token {end}", file=sys.stderr)
            sys.exit(NOT_FINITE)
    return nats


def write_result(path, result):
    """All or nothing: a reader never sees half a file."""
    with open(path + ".part", "w") as file:
        json.dump(result, file)
    os.replace(path + ".part", path)


def main():
    started = time.monotonic()
    parser = argparse.ArgumentParser(description="Measure bits per byte of trained weights over a whole shard.")
    parser.add_argument("--source", required=True, help="the train.py that trained the weights")
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--shard", required=True, help="tokens to predict, all of them")
    parser.add_argument("--raw-bytes", type=int, required=True, help="bytes of text behind the shard")
    parser.add_argument("--result", required=True, help="JSON file to write")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--vocab-size", type=int, default=256)
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    with open(arguments.config) as file:
        config = json.load(file)
    tokens = read_tokens(arguments.shard, arguments.vocab_size)
    if len(tokens) < 1 or arguments.raw_bytes < 1:
        raise SystemExit(f"nothing to measure: {len(tokens)} tokens, {arguments.raw_bytes} raw bytes")
    model = load_model_of(arguments.source, config, arguments.vocab_size, arguments.weights).to(device)
    nats = total_nats(model, tokens, arguments.vocab_size, config["context"], device)
    write_result(
        arguments.result,
        {
            "val_bpb": nats / math.log(2) / arguments.raw_bytes,
            "nats": nats,
            "tokens": len(tokens),
            "raw_bytes": arguments.raw_bytes,
            "seconds": time.monotonic() - started,
        },
    )


if __name__ == "__main__":
    main()
