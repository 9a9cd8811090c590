"""Serve the torch network in a folder by LitServe: python lit.py FOLDER PORT. It answers logits."""

from __future__ import annotations

import sys
from pathlib import Path

import litserve
import numpy as np
import torch


class API(litserve.LitAPI):
    def setup(self, device):
        stored = np.load(Path(sys.argv[1]) / "network.npz")
        layers = []
        for i in range(len(stored) // 2):
            weight = torch.tensor(stored[f"weight{i}"])
            layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
            layers[-2].load_state_dict({"weight": weight, "bias": torch.tensor(stored[f"bias{i}"])})
        self.network = torch.nn.Sequential(*layers[:-1])

    def predict(self, request):
        with torch.no_grad():
            answers = self.network(torch.tensor(request["rows"], dtype=torch.float32))
        return {"answers": [{"logits": row} for row in answers.tolist()]}


if __name__ == "__main__":
    server = litserve.LitServer(API(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
