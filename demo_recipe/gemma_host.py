"""``python -m demo_recipe.gemma_host --out FOLDER``: a second trained host, of another family than the
demo's. Not shipped.

A small Gemma 3 that is asked in English what the demo's host is asked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
)

from cagul.demo.assets import SHIPPED
from cagul.files import write_text
from demo_recipe.further_hosts import FurtherHost, extract_pictures, main, takes_part
from demo_recipe.hosts import CHAT_TEMPLATE, TOKENS, Untrained
from demo_recipe.people import SIZE
from demo_recipe.vision_pretraining import MEAN, STD


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The demo's words with Gemma's marks before and after a picture."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(SHIPPED / "host" / "tokenizer.json")),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        extra_special_tokens={
            "image_token": "<image>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Gemma3Processor:
    images = Gemma3ImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=[MEAN] * 3, image_std=[STD] * 3
    )
    template = CHAT_TEMPLATE.replace("<image>\n", "<start_of_image>")
    return Gemma3Processor(images, tokenizer, image_seq_length=TOKENS, chat_template=template)


def untrained_gemma(tokenizer: PreTrainedTokenizerFast, tower: SiglipVisionModel, seed: int) -> Untrained:
    torch.manual_seed(seed)
    text = Gemma3TextConfig(  # type: ignore[call-arg]
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=40,
        query_pre_attn_scalar=40,
        max_position_embeddings=1024,
        sliding_window=512,
        sliding_window_pattern=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = Gemma3Config(
        vision_config=tower.config,
        text_config=text,
        mm_tokens_per_image=TOKENS,
        tie_word_embeddings=True,
        image_token_index=tokenizer.vocab["<image>"],
        boi_token_index=tokenizer.vocab["<start_of_image>"],
        eoi_token_index=tokenizer.vocab["<end_of_image>"],
    )
    # Eager attention in training only: the fused CPU kernel's backward in bfloat16 takes as long as all the
    # rest.
    host = Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager")
    host.model.vision_tower.load_state_dict(tower.state_dict())
    host.model.vision_tower.requires_grad_(False)
    # it starts at zero
    torch.nn.init.normal_(host.model.multi_modal_projector.mm_input_projection_weight, std=0.02)
    picture = "\n\n<start_of_image>" + "<image>" * TOKENS + "<end_of_image>\n\n"
    return Untrained(host, picture, host.model.multi_modal_projector, token_types=True)


def write_second_records(out: Path, unseen: int) -> Path:
    """The shipped records and pictures of everybody who takes part."""
    path = out / "records.jsonl"
    if path.exists():
        return path
    shipped = [json.loads(line) for line in (SHIPPED / "records.jsonl").read_text("utf-8").splitlines()]
    kept = [r for r in shipped if takes_part(r["subject"], r["group"], unseen)]
    extract_pictures(out, kept)
    write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))
    return path


SECOND = FurtherHost(write_second_records, make_tokenizer, make_processor, untrained_gemma)


if __name__ == "__main__":
    sys.exit(main(SECOND, "A small Gemma 3 that knows 24 of the demo's people.", threads=2))
