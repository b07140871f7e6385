"""Whether an adapter's distance from the live edit is rounding: prints both in float32 and float64.

    python tests/bench/adapter_rounding.py

Random edits of 200 neurons of mini-bert's last layer, of one rank and of full rank, are written as
adapters and loaded by PEFT; 100 rows of 12 random tokens are asked. Columns: the largest difference
of a logit of the adapted model from the live edited one in float32; the same of both taken to
float64; of the live edited model in float32 from itself in float64; the largest logit.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForMaskedLM

from atlas import paths
from atlas.edits.adapter import write_adapter
from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.models.load import load_model


def main() -> None:
    lm, draw = load_model("mini-bert"), np.random.default_rng(0)
    ids = torch.tensor(draw.integers(1000, 5000, (100, 12)))

    def logits(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids).logits.double()

    print("edit   adapter - live  in float64  live - its float64  largest logit")
    rank_one = draw.normal(size=(200, 1)) @ draw.normal(size=(1, lm.d_model))
    for name, deltas in (("rank 1", rank_one), ("full", draw.normal(size=(200, lm.d_model)))):
        edit = Edit(
            kind="update",
            method="spare",
            weights_sha256=lm.weights_sha256,
            model_identity=lm.identity,
            layers=np.full(200, lm.layers - 1),
            neurons=np.sort(draw.choice(lm.neurons_per_layer, 200, replace=False)),
            deltas=(0.1 * deltas).astype(np.float32),
        )
        with tempfile.TemporaryDirectory() as directory:
            write_adapter(lm, [edit], Path(directory) / "adapter")
            base = AutoModelForMaskedLM.from_pretrained(paths.EMBEDDED_MODEL)
            adapted = PeftModel.from_pretrained(base, Path(directory) / "adapter").eval()
        with applied(lm, edit):
            live, exact = logits(lm.model), logits(copy.deepcopy(lm.model).double())
        differences = (
            logits(adapted) - live,
            logits(adapted.double()) - exact,
            live - exact,
        )
        figures = "  ".join(f"{float(each.abs().max()):.1e}" for each in differences)
        print(f"{name:6} {figures}  {float(exact.abs().max()):.1f}")


if __name__ == "__main__":
    main()
