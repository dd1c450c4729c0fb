"""Answer token batches with a trained model's logits, for whoever measures.

    python answer.py --source train.py --config config.json --weights weights.safetensors --batch-tokens N
                     file descriptor 3: one end of a unix stream socket pair; file descriptor 4: shared memory

Has no targets and computes no number: it imports the train.py, builds its model, loads the weights and is then asked.

    request   ticket u64, slot u32, rows u32, length u32, then rows * length tokens u16    all little-endian
    reply     ticket u64, status u32, 4 zero bytes, name of an exception's type in 32 bytes
    memory    two slots of N * vocabulary float32: logits (rows, length, vocabulary)

Status: 0 answered, 1 failed, 2 out of memory. It never leaves by itself; whoever asks ends it.
"""

import argparse
import importlib.util
import json
import mmap
import signal
import socket
import struct
import sys

import numpy as np
import torch
from safetensors.torch import load_model

SOCKET, MEMORY = 3, 4  # file descriptors
SLOTS = 2
REQUEST, REPLY = struct.Struct("<QIII"), struct.Struct("<QI4x32s")
ANSWERED, FAILED, OUT_OF_MEMORY = 0, 1, 2


class WrongShape(Exception):
    """The model's answer is no (B, T, V)."""


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


def receive(connection, count):
    """Exactly `count` bytes."""
    received = bytearray()
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise SystemExit("whoever asks is gone")
        received += chunk
    return received


@torch.inference_mode()
def answer(model, tokens, slot, vocab_size, device):
    """tokens (B, T); slot: flat float32 memory, filled with (B, T, V)."""
    logits = model(tokens.to(device))
    if tuple(logits.shape) != (*tokens.shape, vocab_size):
        raise WrongShape
    slot[: logits.numel()].copy_(logits.reshape(-1))


def serve(connection, memory, model, vocab_size, device):
    slots = torch.frombuffer(memory, dtype=torch.float32).view(SLOTS, -1)
    while True:
        ticket, slot, rows, length = REQUEST.unpack(receive(connection, REQUEST.size))
        tokens = np.frombuffer(receive(connection, 2 * rows * length), "<u2").astype(np.int64)
        answer(model, torch.from_numpy(tokens).view(rows, length), slots[slot], vocab_size, device)
        connection.sendall(REPLY.pack(ticket, ANSWERED, b""))


def is_out_of_memory(error):
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def main():
    parser = argparse.ArgumentParser(description="Answer token batches with a trained model's logits.")
    parser.add_argument("--source", required=True, help="the train.py that trained the weights")
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch-tokens", type=int, required=True, help="tokens of one request at most")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--vocab-size", type=int, default=256)
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    with open(arguments.config) as file:
        config = json.load(file)
    connection = socket.socket(fileno=SOCKET)
    memory = mmap.mmap(MEMORY, 4 * SLOTS * arguments.batch_tokens * arguments.vocab_size)
    try:
        model = load_model_of(arguments.source, config, arguments.vocab_size, arguments.weights).to(device)
        serve(connection, memory, model, arguments.vocab_size, device)
    except Exception as error:
        status = OUT_OF_MEMORY if is_out_of_memory(error) else FAILED
        connection.sendall(REPLY.pack(0, status, type(error).__name__.encode()[:32]))
        signal.pause()  # until whoever asks has heard it and ends this process


if __name__ == "__main__":
    main()
