"""Why a model is called without gradients, told from real trainers' stacks."""

from pathlib import Path

import pytest

from training.deployment import printed

ROOT = Path(__file__).resolve().parents[2]

# Notes the purpose of every root call without gradients, as the hook does.
PRELUDE = """
import collections, json, sys, tempfile
sys.path[:0] = [{sidecar!r}]
import torch
from flopguard_hook import purpose
seen = collections.Counter()
original = torch.nn.Module.__call__
inside = [0]
def call(self, *args, **kwargs):
    if not inside[0] and not torch.is_grad_enabled():
        told = purpose.of_frames(sys._getframe(), self)
        seen[type(self).__name__ + " " + told] += 1
    inside[0] += 1
    try:
        return original(self, *args, **kwargs)
    finally:
        inside[0] -= 1
torch.nn.Module.__call__ = call

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast,
    LlamaForSequenceClassification, Trainer, TrainingArguments)
words = {{w: i for i, w in enumerate("<pad> <eos> <unk> a b c d".split())}}
words_of = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
words_of.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words_of, pad_token="<pad>",
    eos_token="<eos>", unk_token="<unk>", padding_side="left",
    model_input_names=["input_ids", "attention_mask"])
sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, vocab_size=len(words),
    pad_token_id=0, eos_token_id=1)
base = tempfile.mkdtemp()
LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(base)
model = LlamaForCausalLM.from_pretrained(base)
tokenizer.save_pretrained(base)
common = dict(output_dir=base + "/out", max_steps=2, per_device_train_batch_size=2,
    report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True)
pairs = Dataset.from_dict({{"prompt": ["a b", "c d"] * 4, "chosen": ["a", "b"] * 4,
    "rejected": ["c", "d"] * 4}})
"""

TRAINER = """
rows = Dataset.from_dict({"input_ids": [[3, 4]] * 8, "labels": [[3, 4]] * 8})
arguments = TrainingArguments(**common, eval_strategy="steps", eval_steps=1)
Trainer(model, arguments, train_dataset=rows, eval_dataset=rows).train()
model.generate(torch.tensor([[3, 4]]), max_new_tokens=2, do_sample=False)
def validate():
    with torch.no_grad():
        model(torch.tensor([[3, 4]]))
model.eval()
validate()
model.train()
with torch.no_grad():
    model(torch.tensor([[3, 4]]))
"""

DPO = """
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer
arguments = DPOConfig(**common, eval_strategy="steps", eval_steps=2)
for adapter in (None, LoraConfig(r=2, target_modules=["q_proj"])):
    DPOTrainer(model, args=arguments, train_dataset=pairs, eval_dataset=pairs,
        processing_class=tokenizer, peft_config=adapter).train()
"""

GRPO = """
from trl import GRPOConfig, GRPOTrainer
judge = LlamaForSequenceClassification(LlamaConfig(**sizes, num_labels=1))
arguments = GRPOConfig(**common, num_generations=2, max_completion_length=3, beta=0.1)
GRPOTrainer(model, reward_funcs=[judge], reward_processing_classes=[tokenizer],
    args=arguments, train_dataset=pairs.select_columns(["prompt"]),
    processing_class=tokenizer).train()
"""


@pytest.mark.parametrize(
    ("program", "purposes"),
    [
        (
            TRAINER,
            {
                "LlamaForCausalLM evaluation",
                "LlamaForCausalLM generation",
                "LlamaForCausalLM other",
            },
        ),
        (
            DPO,
            {
                "LlamaForCausalLM evaluation",
                "LlamaForCausalLM reference",
                "PeftModel evaluation",
                "PeftModel reference",
            },
        ),
        (
            GRPO,
            {
                "LlamaForCausalLM generation",
                "LlamaForCausalLM reference",
                "LlamaForSequenceClassification reward",
            },
        ),
    ],
    ids=["evaluation and generation", "DPO, full and LoRA", "GRPO with a judge"],
)
def test_purposes(program: str, purposes: set[str]) -> None:
    """Every call without gradients is told apart by who makes it."""
    prelude = PRELUDE.format(sidecar=str(ROOT / "sidecar"))
    end = "\nprint('SEEN', json.dumps(seen))\n"

    seen = printed("SEEN", "-c", prelude + program + end, timeout=280)

    assert set(seen) == purposes
