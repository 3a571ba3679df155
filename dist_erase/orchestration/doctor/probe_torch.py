"""Devices, a process group of one, and the model as open_clip knows it: a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist

from dist_erase.config.run import RunConfig
from dist_erase.data.source.attempts import within
from dist_erase.orchestration.doctor.disk import space_row
from dist_erase.orchestration.doctor.needs import GB, Config, in_words, stored_parameters
from dist_erase.orchestration.doctor.probes import read_asked, tell
from dist_erase.orchestration.doctor.row import Check, Row, fail, ok, rows_of, warn

_GROUP_SECONDS = 20.0
_MODEL_SECONDS = 60.0
_FETCH_SECONDS = 5.0


def main() -> None:
    """Reads what is asked from stdin and writes rows."""
    config, _ = read_asked()
    checks = [
        Check(name="devices", look=lambda: check_devices(config), seconds=_GROUP_SECONDS),
        Check(name="process group", look=check_group, seconds=_GROUP_SECONDS),
    ]
    for row in rows_of(checks):
        tell(row)
    if config is not None:
        chosen = config
        model = Check(name="model", look=lambda: check_model(chosen), seconds=_MODEL_SECONDS)
        for row in rows_of([model]):
            tell(row)
    os._exit(0)  # a thread that hangs in a driver would keep the process


def check_devices(config: Config | None) -> Iterator[Row]:
    """GPUs, their memory, and whether they can what the configuration asks for."""
    wants_gpu = isinstance(config, RunConfig) and config.ray.resources_per_worker.get("GPU", 0) > 0
    if not torch.cuda.is_available():
        found = f"no GPU that torch {torch.__version__} can use (built for CUDA {_cuda()})"
        if any(Path("/dev").glob("nvidia[0-9]*")):
            mend = "The machine has one: install a driver that is new enough for this torch."
            yield fail("devices", found, mend)
        elif wants_gpu and isinstance(config, RunConfig) and config.ray.address == "local":
            mend = "Take GPU out of ray.resources_per_worker, or run where GPUs are."
            yield fail("devices", found, mend)
        else:
            yield ok("devices", f"{found}; {os.cpu_count()} CPU cores")
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        found = f"{number}: {about.name}, {in_words(free)} free of {in_words(total)}"
        bf16 = config is not None and config.train.precision == "bf16"
        if bf16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            mend = "Set train.precision=fp32, or use a GPU that can (Ampere or later)."
            yield warn("devices", f"{found}; it computes bf16 by emulation", mend)
        elif total - free > GB:
            mend = "Look with nvidia-smi who holds it."
            yield warn("devices", f"{found}; another process uses it", mend)
        else:
            yield ok("devices", found)


def check_group() -> Iterator[Row]:
    """A real group of one process on loopback, and a sum over it."""
    gpu = torch.cuda.is_available()
    backend = "nccl" if gpu else "gloo"
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    patience = timedelta(seconds=_GROUP_SECONDS)
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, 1, is_master=True, timeout=patience
    )
    dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=patience)
    try:
        numbers = torch.ones(1024, device="cuda" if gpu else "cpu")
        dist.all_reduce(numbers)
        total = float(numbers.sum())
    finally:
        dist.destroy_process_group()
    if total != 1024:
        yield fail("process group", f"{backend} summed 1,024 ones to {total}", "Reinstall torch.")
        return
    nccl = torch.cuda.nccl.version() if gpu else ()  # type: ignore[no-untyped-call]
    version = ".".join(map(str, nccl))
    yield ok("process group", f"{backend} {version}".strip() + " sums over a group of one process")


def check_model(config: Config) -> Iterator[Row]:
    """Whether architecture and weights fit, whether weights are here, and their size on disk.

    Raises:
        UserError: open_clip does not know them, or they do not fit.
    """
    # Not above: open_clip takes seconds, and the devices are known before.
    from dist_erase.models.resolve import resolve

    source = resolve(config.model.architecture, config.model.pretrained)
    yield ok("model", f"open_clip knows {source.name} {source.pretrained or ''}".strip())
    if source.pretrained is not None and not Path(source.pretrained).is_file():
        yield _weights_of_tag(source.name, source.pretrained)
    if stored_parameters(config) is None:
        count = parameters_of(source.model_cfg)
        if count is not None:
            yield space_row(config, count)


def parameters_of(model_cfg: dict[str, Any]) -> int | None:
    """Counted on a model without memory; None where that cannot be built so."""
    import open_clip

    towers = {k: v for k, v in model_cfg.items() if k != "custom_text"}
    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    try:
        with torch.device("meta"):
            model = kind(**towers)
    except Exception:  # noqa: BLE001  # some towers of others' libraries need real memory
        return None
    count: int = sum(p.numel() for p in model.parameters())
    return count


def _weights_of_tag(name: str, tag: str) -> Row:
    """Whether open_clip finds them on this machine, or could fetch them."""
    import open_clip

    about = open_clip.get_pretrained_cfg(name, tag)
    if about.get("hf_hub"):
        return _weights_of_hub(about["hf_hub"])
    url = about["url"]
    kept = Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]
    if kept.is_file():
        return ok("model weights", f"{kept} ({in_words(kept.stat().st_size)})")
    host = urlsplit(url).hostname or ""
    return _to_fetch(url.rpartition("/")[2], host, lambda: _size_at(url))


def _weights_of_hub(place: str) -> Row:
    """`place`: ORGANISATION/MODEL/FILE; without FILE open_clip's usual names."""
    import huggingface_hub as hub

    model, _, file = place.rpartition("/")
    files = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    if file.endswith((".bin", ".pth")):
        files = [f"{file[:-4]}.safetensors", file]
    for name in files:
        kept = hub.try_to_load_from_cache(model, name)
        if isinstance(kept, str):
            return ok("model weights", f"{kept} ({in_words(Path(kept).stat().st_size)})")

    def size() -> int:
        for name in files[:-1]:
            try:
                return _hub_size(hub.hf_hub_url(model, name))
            except hub.errors.EntryNotFoundError:
                continue
        return _hub_size(hub.hf_hub_url(model, files[-1]))

    def _hub_size(url: str) -> int:
        return hub.get_hf_file_metadata(url, timeout=_FETCH_SECONDS).size or 0

    return _to_fetch(place.strip("/"), "the Hugging Face hub", size)


def _to_fetch(what: str, host: str, size: Callable[[], int]) -> Row:
    mend = (
        "Fetch them once where there is a network, and copy the file; or set model.pretrained to "
        "a file that every node sees."
    )
    try:
        found = within(2 * _FETCH_SECONDS, size)
    except TimeoutError:
        return fail("model weights", f"{what} is not here, and {host} does not answer", mend)
    except Exception as error:  # noqa: BLE001  # each library behind it has errors of its own
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        found_text = f"{what} is not here and cannot be fetched from {host} ({reason[:200]})"
        return fail("model weights", found_text, mend)
    return warn(
        "model weights",
        f"{what} ({in_words(found)}) is not here; every node fetches it from {host} at the start",
        mend,
    )


def _size_at(url: str) -> int:
    import urllib.request

    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=_FETCH_SECONDS) as answer:
        return int(answer.headers.get("Content-Length") or 0)


def _cuda() -> str:
    return torch.version.cuda or "none"


if __name__ == "__main__":
    main()
