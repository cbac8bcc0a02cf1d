"""A checkpoint folder before anything of it is loaded: is it one, and is every file that will be read whole?

transformers says of a git-lfs pointer or a cut file whatever its parser meets first. Here each has its name.
A hub name is left to transformers, which fetches whole files.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from cagul.errors import HostError, reason
from cagul.files import RepeatedKey, parse_json
from cagul.host.generation import require_settings

POINTERS = {  # how a file begins that stands for one in another store, and what fetches the file
    b"version https://git-lfs.github.com/spec/": "git lfs pull",
    b"version https://hawser.github.com/spec/": "git lfs pull",
    b"# xet version": "git xet checkout",
    b"/annex/objects/": "git annex get .",
}
JSON_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "adapter_config.json",
)
# transformers takes the first of these that is there
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
VOCABULARIES = (
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)  # without tokenizer.json
LARGEST_HEADER = 10**8  # bytes, as the safetensors format has it
FETCH = "Fetch the checkpoint again, whole."


def require_host_folder(folder: Path) -> None:
    """Raises HostError where ``folder`` is a file, or holds no config at its top."""
    if not folder.is_dir():
        raise HostError(
            f"{folder} is a file; a host is a folder with a config, weights and a processor.",
            "Give the folder. GGUF files and single weight files are not read.",
            "host-load",
        )
    if any(
        (folder / name).exists() or (folder / name).is_symlink()
        for name in ("config.json", "adapter_config.json")
    ):
        return
    names = sorted(path.name for path in folder.iterdir())
    below = sorted(
        str(path.parent) for pattern in ("*", "snapshots/*") for path in folder.glob(f"{pattern}/config.json")
    )
    if below:
        raise HostError(
            f"{folder} has no config.json, but {len(below)} folder(s) in it do.",
            f"Give {' or '.join(below[:3])}.",
            "host-load",
        )
    what = (
        f"; it holds {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}"
        if names
        else ": it is empty"
    )
    gguf = any(name.endswith(".gguf") for name in names)
    raise HostError(
        f"{folder} has no config.json{what}.",
        "GGUF files are not read: give the checkpoint they were made from."
        if gguf
        else "Give a checkpoint folder.",
        "host-load",
    )


def require_whole_settings(folder: Path) -> None:
    """Raises HostError for a file of the config, processor or tokenizer that is a pointer, empty or no JSON
    object, and (generation-config) for generation settings that transformers refuses.
    """
    for name in JSON_FILES:
        if _is_there(folder / name):
            data = json_object(folder / name)
            if name == "generation_config.json":
                _require_generation_settings(folder / name, data)
    for name in ("chat_template.jinja", *(() if _is_there(folder / "tokenizer.json") else VOCABULARIES)):
        if _is_there(folder / name):
            _require_file(folder / name)


def _require_generation_settings(path: Path, data: dict[str, Any]) -> None:
    require_settings(data)
    try:
        GenerationConfig.from_dict(dict(data))
    except Exception as error:  # the classes of its sections raise what they like
        raise HostError(
            f"{path} cannot be used: {reason(error)}.", "Correct it, or remove the file.", "generation-config"
        ) from error


def require_whole_weights(folder: Path) -> None:
    """Raises HostError where weights are missing, pointers, empty or cut off.

    Of an adapter's folder without a base model's config only the adapter is looked at.
    """
    if _is_there(folder / "adapter_config.json"):
        adapter = next((name for name in ADAPTERS if _is_there(folder / name)), None)
        if adapter is None:
            raise HostError(
                f"{folder} has an adapter_config.json without an adapter's weights.",
                "Remove adapter_config.json if this is a host of its own, or fetch "
                "adapter_model.safetensors.",
                "adapter",
            )
        _require_weight_file(folder / adapter)
        if not _is_there(folder / "config.json"):
            return
    weights_file = next((name for name in WEIGHTS if _is_there(folder / name)), None)
    if weights_file is None:
        others = sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix in (".gguf", ".safetensors", ".bin", ".pth", ".h5")
        )
        what = f"; {', '.join(others[:5])} would not be read" if others else ""
        raise HostError(
            f"{folder} has no weights that transformers reads{what}.",
            "Give a checkpoint with model.safetensors or pytorch_model.bin, whole or in shards with "
            "their index.",
            "host-load",
        )
    for name in _shards(folder / weights_file) if weights_file.endswith(".json") else [weights_file]:
        _require_weight_file(folder / name)


def _shards(index: Path) -> list[str]:
    """The files that an index of weights names. Raises HostError where it names none or some are not
    there.
    """
    names = json_object(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise HostError(f"{index} has no weight_map that names files.", FETCH, "host-load")
    shards = sorted(set(names.values()))
    missing = [name for name in shards if not _is_there(index.parent / name)]
    if missing:
        raise HostError(
            f"{index} names {len(shards)} file(s), of which {len(missing)} are not there, the first is "
            f"{missing[0]}.",
            FETCH,
            "host-load",
        )
    return shards


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def json_object(path: Path) -> dict[str, Any]:
    """The object of a checkpoint's JSON file. NaN and infinity are taken: transformers wrote them as they
    stand into configs for years, and reads them still. A byte-order mark is not: it does not read one.

    Raises HostError for a file that is not there, not whole, or that readers take for different things.
    """
    _require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a byte-order mark, which transformers does not read")
        data = parse_json(text, non_finite=True)
    except RepeatedKey as error:
        raise HostError(
            f"{path} can be read in two ways: {error}.", "Keep the one that holds.", "host-load"
        ) from None
    except (OSError, ValueError) as error:
        page = " It begins as a web page does." if _begins(path, b"<") else ""
        raise HostError(
            f"{path} cannot be read as JSON: {reason(error)}.{page}", FETCH, "host-load"
        ) from error
    if not isinstance(data, dict):
        raise HostError(f"{path} holds no JSON object.", FETCH, "host-load")
    return data


def _require_file(path: Path) -> None:
    """Raises HostError for a link that leads nowhere, a folder, an empty file and a pointer to another
    store.
    """
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError as error:
        link = (
            f"it is a link to {path.readlink()}, which is not there" if path.is_symlink() else reason(error)
        )
        raise HostError(f"{path} cannot be read: {link}.", FETCH, "host-load") from error
    if not head:
        raise HostError(f"{path} is empty: it has 0 bytes.", FETCH, "host-load")
    for beginning, command in POINTERS.items():
        if head.startswith(beginning):
            store = command.split()[1]
            raise HostError(
                f"{path} is a git-{store} pointer of {path.stat().st_size} bytes, not the file itself.",
                f"Run `{command}` in {path.parent}, or fetch the checkpoint with `hf download OWNER/NAME`.",
                "git-lfs",
            )


def _require_weight_file(path: Path) -> None:
    """Raises HostError for a file of weights that is not whole, by its own header."""
    _require_file(path)
    size = path.stat().st_size
    if path.suffix == ".safetensors":
        expected = _safetensors_size(path)
        if size != expected:
            raise HostError(
                f"{path} has {size:,} bytes, its header says {expected:,}: it was cut off or changed.",
                FETCH,
                "host-load",
            )
    elif _begins(path, b"PK") and not zipfile.is_zipfile(path):
        raise HostError(f"{path} has {size:,} bytes and no end: it was cut off.", FETCH, "host-load")


def _safetensors_size(path: Path) -> int:
    """How many bytes a safetensors file has by its header. Raises HostError where it has none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= LARGEST_HEADER else b""
    try:
        header = parse_json(text.decode())
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return int(8 + length + max(ends, default=0))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise HostError(
            f"{path} is no safetensors file, or its header was cut off.", FETCH, "host-load"
        ) from error


def _begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning
