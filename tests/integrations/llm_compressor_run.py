"""Run a recipe through llm-compressor on a Llama of random weights: python llm_compressor_run.py RECIPE CONFIG OUT.

Needs llm-compressor and nothing of shrinkscope. Writes a JSON object, module → number of weights that are zero.
"""

import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader


def main() -> None:
    # Here, so that test collection can import this file without llm-compressor.
    from llmcompressor import oneshot  # type: ignore[import-not-found]
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, default_data_collator

    recipe, config, out = map(Path, sys.argv[1:])
    torch.manual_seed(0)
    settings = LlamaConfig(**json.loads(config.read_text()))
    folder = out.parent / "tiny"
    words = Tokenizer(models.WordLevel({str(index): index for index in range(settings.vocab_size)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0").save_pretrained(folder)
    LlamaForCausalLM(settings).save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    tokens = torch.randint(0, settings.vocab_size, (16, 32))
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in tokens]
    loader = DataLoader(samples, batch_size=4, collate_fn=default_data_collator)
    processor = PreTrainedTokenizerFast.from_pretrained(folder)
    oneshot(model=model, processor=processor, dataset=loader, recipe=str(recipe), num_calibration_samples=len(tokens))
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    out.write_text(json.dumps({name: int((module.weight == 0).sum()) for name, module in linear.items()}))


if __name__ == "__main__":
    main()
