"""A tiny random host of every proven family, with the family's own processor, in memory.

Processors that also hold a video processor cannot be built without torchvision; theirs are made without it,
by hand, and run the family's own code for pictures and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from jinja2 import Template

from helpers import WORDS

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_channels": 3,
}
ENLARGED = 4.0  # times the weights that a family starts with
MEAN = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
TEMPLATE = (
    "[BOS]{% for message in messages %}{% if message['role'] == 'user' %}### Human : {% else %}### "
    "Assistant : {% endif %}{% for part in message['content'] %}{% if part['type'] == 'image' %}MARK {% "
    "else %}{{ part['text'] }} {% endif %}{% endfor %}{% if message['role'] == 'assistant' %}[EOS] {% endif "
    "%}{% endfor %}{% if add_generation_prompt %}### Assistant :{% endif %}"
)


def tokenizer(image: str = "<image>", more: tuple[str, ...] = (), **named: str) -> Any:
    """A word tokenizer with ``image`` as the placeholder, ``more`` as further special tokens and ``named``
    ones as attributes.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    special = list(dict.fromkeys(["[PAD]", "[BOS]", "[EOS]", "[UNK]", image, *more, *named.values()]))
    words = [*WORDS, *"?.,:#!'\n", "###", "Human", "Assistant", *[w.capitalize() for w in WORDS]]
    vocabulary = {word: n for n, word in enumerate(dict.fromkeys([*special, *words]))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    core.add_special_tokens([AddedToken(word, normalized=False) for word in special])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="[BOS]",
        eos_token="[EOS]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        extra_special_tokens={
            "image_token": image,
            **{f"more_{n}": word for n, word in enumerate(more)},
            **named,
        },
    )


def text_config(kind: str, tokens: Any, **more: Any) -> Any:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return getattr(transformers, kind)(vocab_size=len(tokens), **TEXT, **ids, **more)


def without_video(module: str, kind: str, tokens: Any, images: Any, **attributes: Any) -> Any:
    """A processor made without its video processor: its own methods on the parts that pictures need."""
    processor = object.__new__(getattr(import_module(f"transformers.models.{module}"), kind))
    video = SimpleNamespace(num_frames=1, fps=1)  # SmolVLM's chat template asks for them
    parts = {
        "tokenizer": tokens,
        "image_processor": images,
        "video_processor": video,
        "chat_template": attributes.pop("template"),
    }
    for name, value in (parts | attributes).items():
        setattr(processor, name, value)
    return processor


def finish(config: Any, kind: str, processor: Any, seed: int, *, unproven: bool = False) -> Any:
    """The host: random weights that do say different things about different pictures."""
    from cagul.host.frozen import FrozenHost

    torch.manual_seed(seed)
    config.image_token_id = processor.tokenizer.convert_tokens_to_ids(processor.tokenizer.image_token)
    model = getattr(transformers, kind)(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not parameter.any():  # Gemma 3 starts its projection at zero
                parameter.normal_(std=0.1)
            if parameter.ndim >= 2 and "embed" not in name:
                parameter.mul_(ENLARGED)
    return FrozenHost(model, processor, config.model_type, unproven=unproven)


def template(mark: str) -> str:
    return TEMPLATE.replace("MARK", mark)


def llava(seed: int = 0) -> Any:
    tokens = tokenizer()
    vision = transformers.CLIPVisionConfig(**VISION, image_size=32, patch_size=8)
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=text_config("LlamaConfig", tokens),
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = transformers.LlavaProcessor(
        images,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template("<image>"),
        num_additional_image_tokens=1,
    )
    return finish(config, "LlavaForConditionalGeneration", processor, seed)


def llava_next(seed: int = 0) -> Any:
    tokens = tokenizer()
    grid = [[32, 64], [64, 32], [64, 64]]
    vision = transformers.CLIPVisionConfig(**VISION, image_size=32, patch_size=8)
    config = transformers.LlavaNextConfig(
        vision_config=vision,
        text_config=text_config("LlamaConfig", tokens),
        vision_feature_layer=-2,
        image_grid_pinpoints=grid,
        image_seq_length=16,
    )
    images = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=grid
    )
    processor = transformers.LlavaNextProcessor(
        images,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template("<image>"),
        num_additional_image_tokens=1,
    )
    return finish(config, "LlavaNextForConditionalGeneration", processor, seed)


def llava_onevision(seed: int = 0) -> Any:
    tokens = tokenizer(video_token="<video>")
    grid = [[32, 64], [64, 32], [64, 64]]
    vision = transformers.SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False)
    config = transformers.LlavaOnevisionConfig(
        vision_config=vision, text_config=text_config("Qwen2Config", tokens), image_grid_pinpoints=grid
    )
    images = transformers.LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=grid
    )
    processor = without_video(
        "llava_onevision.processing_llava_onevision",
        "LlavaOnevisionProcessor",
        tokens,
        images,
        template=template("<image>"),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        image_token="<image>",
        video_token="<video>",
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
        vision_aspect_ratio="anyres_max_9",
    )
    return finish(config, "LlavaOnevisionForConditionalGeneration", processor, seed)


def _qwen(module: str, kind: str, vision: Any, seed: int, **more: Any) -> Any:
    tokens = tokenizer(
        "<|image_pad|>", video_token="<|video_pad|>", start="<|vision_start|>", end="<|vision_end|>"
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0} | more
    ids = {
        "vision_start_token_id": tokens.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokens.convert_tokens_to_ids("<|vision_end|>"),
        "video_token_id": tokens.convert_tokens_to_ids("<|video_pad|>"),
    }
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision.to_dict(),
        text_config=text_config(f"{kind}TextConfig", tokens, rope_parameters=rope).to_dict(),
        **ids,
    )
    patch = vision.patch_size
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64},
        **MEAN,
    )
    made = without_video(
        module,
        f"{kind}Processor",
        tokens,
        images,
        template=template("<|vision_start|><|image_pad|><|vision_end|>"),
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
    )
    return finish(config, f"{kind}ForConditionalGeneration", made, seed)


def qwen2_vl(seed: int = 0) -> Any:
    vision = transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig(
        depth=2,
        embed_dim=32,
        hidden_size=32,
        num_heads=2,
        mlp_ratio=2,
        patch_size=8,
        spatial_merge_size=2,
        temporal_patch_size=2,
    )
    return _qwen("qwen2_vl.processing_qwen2_vl", "Qwen2VL", vision, seed)


def qwen2_5_vl(seed: int = 0) -> Any:
    vision = transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig(
        depth=2,
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        patch_size=8,
        spatial_merge_size=2,
        temporal_patch_size=2,
        window_size=32,
        fullatt_block_indexes=[1],
    )
    return _qwen("qwen2_5_vl.processing_qwen2_5_vl", "Qwen2_5_VL", vision, seed)


def qwen3_vl(seed: int = 0) -> Any:
    vision = transformers.models.qwen3_vl.configuration_qwen3_vl.Qwen3VLVisionConfig(
        depth=3,
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        patch_size=8,
        spatial_merge_size=2,
        temporal_patch_size=2,
        deepstack_visual_indexes=[0, 1],
        num_position_embeddings=64,
    )
    return _qwen("qwen3_vl.processing_qwen3_vl", "Qwen3VL", vision, seed, mrope_interleaved=True)


IDEFICS = {
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
TILES = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))


def idefics3(seed: int = 0) -> Any:
    tokens = tokenizer("<image>", (*IDEFICS.values(), *TILES))
    vision = transformers.models.idefics3.configuration_idefics3.Idefics3VisionConfig(
        **VISION, image_size=32, patch_size=8
    )
    config = transformers.Idefics3Config(
        vision_config=vision.to_dict(),
        text_config=text_config("LlamaConfig", tokens).to_dict(),
        scale_factor=2,
        pad_token_id=0,
    )
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, **MEAN
    )
    processor = transformers.Idefics3Processor(
        images, tokens, image_seq_len=4, chat_template=template("<image>")
    )
    return finish(config, "Idefics3ForConditionalGeneration", processor, seed)


def smolvlm(seed: int = 0) -> Any:
    tokens = tokenizer("<image>", (*IDEFICS.values(), *TILES), video_token="<video>")
    vision = transformers.models.smolvlm.configuration_smolvlm.SmolVLMVisionConfig(
        **VISION, image_size=32, patch_size=8
    )
    config = transformers.SmolVLMConfig(
        vision_config=vision.to_dict(),
        text_config=text_config("LlamaConfig", tokens).to_dict(),
        scale_factor=2,
        pad_token_id=0,
    )
    images = transformers.SmolVLMImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, **MEAN
    )
    processor = without_video(
        "smolvlm.processing_smolvlm",
        "SmolVLMProcessor",
        tokens,
        images,
        template=template("<image>"),
        image_seq_len=4,
        image_token="<image>",
        image_token_id=tokens.image_token_id,
        video_token="<video>",
        **IDEFICS,
    )
    return finish(config, "SmolVLMForConditionalGeneration", processor, seed)


def internvl(seed: int = 0) -> Any:
    tokens = tokenizer(
        "<IMG_CONTEXT>",
        start_image_token="<img>",
        end_image_token="</img>",
        video_token="<video>",
        context_image_token="<IMG_CONTEXT>",
    )
    vision = transformers.models.internvl.configuration_internvl.InternVLVisionConfig(
        **VISION, image_size=[32, 32], patch_size=[8, 8]
    )
    config = transformers.InternVLConfig(
        vision_config=vision.to_dict(),
        text_config=text_config("Qwen2Config", tokens).to_dict(),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    images = transformers.GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4, **MEAN
    )
    pattern = re.compile("(?P<image><IMG_CONTEXT>)|(?P<video><video>)")
    processor = without_video(
        "internvl.processing_internvl",
        "InternVLProcessor",
        tokens,
        images,
        template=template("<IMG_CONTEXT>"),
        image_seq_length=4,
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_token_id=tokens.context_image_token_id,
        video_token="<video>",
        multimodal_pattern=pattern,
        start_image_token_id=tokens.start_image_token_id,
        end_image_token_id=tokens.end_image_token_id,
    )
    return finish(config, "InternVLForConditionalGeneration", processor, seed)


def gemma3(seed: int = 0) -> Any:
    tokens = tokenizer("<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    vision = transformers.SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False)
    text = text_config("Gemma3TextConfig", tokens, sliding_window=16, query_pre_attn_scalar=8)
    config = transformers.Gemma3Config(vision_config=vision, text_config=text, mm_tokens_per_image=4)
    images = transformers.Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, **MEAN)
    processor = transformers.Gemma3Processor(
        images, tokens, image_seq_length=4, chat_template=template("<start_of_image>")
    )
    return finish(config, "Gemma3ForConditionalGeneration", processor, seed)


def paligemma(seed: int = 0) -> Any:
    tokens = tokenizer("<image>")
    vision = transformers.SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False)
    config = transformers.PaliGemmaConfig(
        vision_config=vision, text_config=text_config("GemmaConfig", tokens), projection_dim=32
    )
    images = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}, **MEAN)
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(images, tokens, chat_template=template("<image>"))
    return finish(config, "PaliGemmaForConditionalGeneration", processor, seed)


class PixtralStandIn:
    """What PixtralProcessor does with pictures and text; the class itself cannot be imported without
    torchvision.
    """

    image_token = "[IMG]"

    def __init__(self, tokens: Any, images: Any, step: int = 16):
        self.tokenizer, self.image_processor, self.step = tokens, images, step
        self.chat_template = template("[IMG]")

    def apply_chat_template(
        self, messages: list[dict], add_generation_prompt: bool = False, tokenize: bool = False
    ) -> str:
        return Template(self.chat_template).render(
            messages=messages, add_generation_prompt=add_generation_prompt
        )

    def __call__(
        self, text: list[str], images: Any = None, padding: bool = True, return_tensors: str = "pt"
    ) -> dict:
        flat = [picture for row in images or [] for picture in row]
        seen = dict(self.image_processor(flat, return_tensors="pt")) if flat else {}
        sizes = iter(seen["image_sizes"].tolist() if flat else [])

        def expand(_: Any) -> str:
            height, width = next(sizes)
            row = "[IMG] " * (width // self.step)
            return "[IMG_BREAK] ".join([row] * (height // self.step)) + "[IMG_END] "

        whole = [re.sub(r"\[IMG\]", expand, one) for one in text]
        return dict(self.tokenizer(whole, padding=padding, return_tensors=return_tensors)) | seen


def mistral3(seed: int = 0) -> Any:
    tokens = tokenizer("[IMG]", ("[IMG_BREAK]", "[IMG_END]"))
    vision = transformers.PixtralVisionConfig(**VISION, image_size=64, patch_size=8, head_dim=12)
    config = transformers.Mistral3Config(
        vision_config=vision,
        text_config=text_config("MistralConfig", tokens),
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )
    images = transformers.PixtralImageProcessorPil(
        size={"longest_edge": 48}, patch_size={"height": 8, "width": 8}
    )
    return finish(config, "Mistral3ForConditionalGeneration", PixtralStandIn(tokens, images), seed)


FAMILIES = {
    build.__name__: build
    for build in (
        llava,
        llava_next,
        llava_onevision,
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        idefics3,
        smolvlm,
        internvl,
        gemma3,
        paligemma,
        mistral3,
    )
}


@cache
def _built(name: str) -> Any:
    return FAMILIES[name]()


@contextmanager
def shared_host(name: str) -> Iterator[Any]:
    """The tiny host of a family, built once a process and lent to one test after the other."""
    host = _built(name)
    with unchanged(host):
        yield host


@contextmanager
def unchanged(host: Any) -> Iterator[None]:
    """Fail where a test changes the weights, mode, attention, template or marks of a host that others use."""
    before = _state(host)
    yield
    after = _state(host)
    changed = [name for name, value in before.items() if value != after[name]]
    assert not changed, f"the test changes the shared host ({', '.join(changed)}): it needs one of its own"


def _state(host: Any) -> dict[str, Any]:
    parameters = host.model.parameters()
    return {
        "weights": [(p.data_ptr(), p._version, p.requires_grad, p.grad is None) for p in parameters],
        "mode": [module.training for module in host.model.modules()],
        "attention": host.language_model.config._attn_implementation,
        "chat template": getattr(host.processor, "chat_template", None),
        "marks of turns": host.marks,
    }


def vipllava(seed: int = 0) -> Any:
    """A family without a row: it has LLaVA's seam."""
    tokens = tokenizer()
    vision = transformers.CLIPVisionConfig(**VISION, image_size=32, patch_size=8)
    config = transformers.VipLlavaConfig(
        vision_config=vision,
        text_config=text_config("LlamaConfig", tokens),
        vision_feature_layers=[-1, -2],
        image_seq_length=16,
    )
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = transformers.LlavaProcessor(
        images,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template("<image>"),
        num_additional_image_tokens=1,
    )
    return finish(config, "VipLlavaForConditionalGeneration", processor, seed, unproven=True)
