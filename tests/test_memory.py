"""Too little memory: parts shrink, tokens go to disk, layers are run twice; the patch stays the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.errors import HostError, WriteError
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.training.distributed import Processes
from cagul.training.token_cache import TokenCache
from cagul.training.token_store import TokenStore
from cagul.training.unlearn import unlearn
from helpers import picture

QUICK = [
    "training.steps=12",
    "training.batch=8",
    "training.augment=0",
    "gate.augment=1",
    "encoder.hidden=32",
    "selection.k=6",
    "gate.false_alarms=0.3",
]


@pytest.fixture
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0"])


def out_of_memory():
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."
    )


def test_parts_shrink_for_good_until_the_work_fits():
    tried = []

    def work(size):
        tried.append(size)
        return size if size <= 3 else out_of_memory()

    parts = AdaptiveBatch(20)
    assert parts.run("working", work) == 3
    assert tried == [20, 10, 5, 3]
    assert parts.run("working", work) == 3
    assert tried[4:] == [3]


def test_a_product_without_scratch_space_makes_the_batch_smaller():
    def work(size):
        if size > limit:
            raise RuntimeError("could not create a primitive")
        return size

    limit = 5
    assert AdaptiveBatch(16).run("training", work) == 4
    limit = 0  # at one item it need not be memory
    with pytest.raises(RuntimeError, match="could not create a primitive"):
        AdaptiveBatch(16).run("training", work)


def test_one_that_does_not_fit_is_an_error_and_other_errors_pass():
    with pytest.raises(HostError, match="Memory ran out while training, one at a time") as caught:
        AdaptiveBatch(4).run("training", lambda size: out_of_memory())
    assert caught.value.anchor == "memory"
    with pytest.raises(RuntimeError, match="shapes"):
        AdaptiveBatch(4).run("training", lambda size: (_ for _ in ()).throw(RuntimeError("shapes")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_beyond_the_budget_are_mapped_from_disk(tmp_path, dtype):
    store = TokenStore(budget=100 * 4 * dtype.itemsize, folder=tmp_path)
    given = {n: torch.randn(20, 4).to(dtype) for n in range(12)}
    for n, tensor in given.items():
        store.put({n: tensor})
    assert len(store.in_memory) == 5
    assert len(store.on_disk) == 7
    assert all(torch.equal(store[n], tensor) for n, tensor in given.items())
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 7
    store.close()
    assert 3 not in store
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".tokens-left").mkdir()
    store = TokenStore(0, tmp_path)
    store.put({0: torch.zeros(4)})
    assert [p.name != ".tokens-left" for p in tmp_path.iterdir()] == [True]
    store.close()


def test_a_full_disk_is_named_before_anything_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cagul.training.token_store.shutil.disk_usage", lambda path: type("usage", (), {"free": 2**20})
    )
    with pytest.raises(WriteError, match=r"0\.00 GiB free"):
        TokenStore(0, tmp_path).put({0: torch.zeros(2**19)})


def test_a_patch_is_the_same_with_its_tokens_on_disk(tiny_host, splits, tmp_path):
    held, mapped = (
        unlearn(
            tiny_host,
            splits,
            load_config("default", [*QUICK, f"training.token_memory={budget}"]),
            work=tmp_path,
        )
        for budget in (4.0, 0.0)
    )
    assert held.digest() == mapped.digest()
    assert not list(tmp_path.iterdir())


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tiny_host, splits, monkeypatch):
    config = load_config("default", [*QUICK, "training.preference=0.1", "training.blend=0.1"])
    whole = unlearn(tiny_host, splits, config)
    real = tiny_host.score

    def narrow(inputs, *args):
        return real(inputs, *args) if len(inputs["input_ids"]) <= 3 else out_of_memory()

    monkeypatch.setattr(tiny_host, "score", narrow)
    parts = unlearn(tiny_host, splits, config)
    assert (whole.facts["rows_at_once"], parts.facts["rows_at_once"]) == (8, 2)
    for one, other in zip(whole.encoder.parameters(), parts.encoder.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_looking_and_attention_shrink_too(tiny_host, splits, monkeypatch):
    whole = unlearn(tiny_host, splits, load_config("default", QUICK))
    look, attend = tiny_host.encode_images, tiny_host.capture_attention
    monkeypatch.setattr(
        tiny_host,
        "encode_images",
        lambda inputs: look(inputs) if len(inputs["pixel_values"]) <= 5 else out_of_memory(),
    )
    monkeypatch.setattr(
        tiny_host,
        "capture_attention",
        lambda prefill, *rest: attend(prefill, *rest) if len(prefill.images) <= 7 else out_of_memory(),
    )
    again = unlearn(tiny_host, splits, load_config("default", QUICK))
    assert again.threshold == pytest.approx(whole.threshold, abs=1e-5)


def test_processes_cut_alike_where_one_has_less_memory(tiny_host, tmp_path):
    class Watched(Processes):
        def map(self, parts, work):
            cut.append([len(part) for part in parts])
            return super().map(parts, work)

    cut, shown = [], [(tmp_path / f"{n}.png", 0) for n in range(6)]
    for path, _ in shown:
        picture(1).save(path)
    token_cache = TokenCache(tiny_host, batch=4, processes=Watched())
    token_cache.looking.size = 3  # as if memory had run out in this process alone
    assert len(token_cache.encode_images(shown)) == 6
    assert cut == [[4, 2]]


def test_gradient_checkpointing_keeps_less_and_changes_nothing(tiny_host):
    kept = {}
    tiny_host.encode_images(tiny_host.image_inputs([picture(1)]))  # tells the container of visual tokens
    tokens = torch.randn(2, 16, tiny_host.width)
    inputs = {
        "input_ids": torch.full((2, 24), tiny_host.image_token),
        "attention_mask": torch.ones(2, 24, dtype=torch.long),
    }
    inputs["input_ids"][:, 16:] = 7
    before = [(m.training, getattr(m, "gradient_checkpointing", None)) for m in tiny_host.model.modules()]
    for recompute in (False, True):
        size = 0

        def pack(tensor):
            nonlocal size
            size += tensor.nbytes
            return tensor

        given = [t.clone().requires_grad_() for t in tokens]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = tiny_host.score(inputs, given, 8, recompute)
        logits.square().sum().backward()
        kept[recompute] = size, logits.detach(), torch.stack([t.grad for t in given])
    assert kept[True][0] < 0.5 * kept[False][0]
    assert torch.equal(kept[True][1], kept[False][1])
    torch.testing.assert_close(kept[True][2], kept[False][2])
    assert [
        (m.training, getattr(m, "gradient_checkpointing", None)) for m in tiny_host.model.modules()
    ] == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_unlearning_a_host_in_half_precision(tiny_folder, splits, dtype):
    from cagul.guard.guard import Guard
    from cagul.host.frozen import FrozenHost

    host = FrozenHost.load(tiny_folder, dtype=dtype)
    patch = unlearn(host, splits, load_config("default", [*QUICK, "training.gradient_checkpointing=true"]))
    assert patch.facts["steps"] == 12
    assert all(p.dtype == torch.float32 for p in patch.encoder.parameters())
    with Guard(host, patch).forced() as guard:
        answer = guard.answer(splits.forget[0].image, splits.forget[0].question)
    assert answer.decisions[0].fired


LIMITED = """
import resource, sys, torch
torch.set_num_threads(1)
from cagul.cli.common import load_host
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.training.unlearn import unlearn
host, records = load_host(sys.argv[1], None), load_records(sys.argv[2])
settings = ["training.steps=2", "training.batch=2048", "training.augment=0", "gate.augment=0",
            "gate.augment_others=0",
            "encoder.hidden=32", "selection.k=6", "gate.false_alarms=0.3"]
splits = split_records(records, ["p0"])
# all is loaded after this one
unlearn(host, splits, load_config("default", ["training.steps=1", "training.batch=8", *settings[2:]]))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(unlearn(host, splits, load_config("default", settings)).facts["rows_at_once"])
"""


@pytest.mark.slow
def test_a_real_limit_on_memory_makes_batches_smaller(tiny_folder, tiny_records):
    rows = []
    for limit in (8 * 2**30, 300 * 2**20):
        command = [sys.executable, "-c", LIMITED, str(tiny_folder), str(tiny_records), str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        rows.append(int(done.stdout.split()[-1]))
    assert rows[0] == 2048
    assert 1 <= rows[1] < 2048
