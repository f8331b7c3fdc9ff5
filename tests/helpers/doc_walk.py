"""README and docs, command after command: the files and the servers that a user would have."""

import re
import shutil
import socket
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import requests
import timm
import yaml
from safetensors.torch import save_file

from kidney.data.phantom.files import write_dicom_series, write_nifti
from kidney.data.phantom.scan import generate_scan
from tests.data.readers.test_kits import write_case
from tests.helpers.doc_pages import Command
from tests.helpers.evaluated_artifact import write_evaluated
from tests.helpers.tiny_model import write_int8_beside
from tests.helpers.waiting import GUARD, address_of, wait_for
from tests.pipeline.conftest import SMALL_PHANTOM, Checkout

# Done by others: CI runs demo, test and fuzz as they stand, and these take minutes to hours.
ELSEWHERE = ("make", "source")
STATUS = {  # of commands that say no, as the page says
    "python scripts/validate.py split=leaky": 1,
    "python scripts/promote.py": 1,  # "or why not": a network of two batches is no champion
}
BACKBONES = ("lite0", "resnet50", "vgg16", "vit", "inception_v3")
TRAININGS = ("train.py", "scripts/headline.py")


def furnish(checkout: Checkout, shared: Path) -> None:
    """Put the files of the pages into a checkout, and make all that takes long small."""
    folder = checkout.folder
    mini = shared / "data/ct-kidney-mini.zip"
    shutil.copy(mini, folder / "ct-kidney.zip")
    shutil.copy(shared / "data/kits19-slices.zip", folder)
    _write_slices(folder, mini)
    _write_volumes(folder, shared)
    _make_small(folder)
    for command in ("add --all", "-c user.name=n -c user.email=e commit --quiet -m Files"):
        checkout.run("git", *command.split())


def _write_slices(folder: Path, mini: Path) -> None:
    elsewhere = folder / "FOLDER_OR_ZIP"
    with zipfile.ZipFile(mini) as packed:
        packed.extractall(elsewhere)
    files = sorted(elsewhere.rglob("*.jpg"), key=_natural)
    rows = [(file.relative_to(elsewhere).as_posix(), file.parent.name) for file in files]
    table = pd.DataFrame(rows, columns=["file", "label"])
    table["label"] = table["label"].str.lower()
    nth = table.groupby("label").cumcount() // 6  # six slices of each scan
    table["scan"] = table["label"] + nth.astype(str)
    table.to_csv(folder / "labels.csv", index=False)
    shutil.copy(files[0], folder / "slice.jpg")


def _natural(file: Path) -> tuple[str, int]:
    return file.parent.name, int(re.findall(r"\d+", file.stem)[-1])


def _write_volumes(folder: Path, shared: Path) -> None:
    scan = generate_scan(3, "tumor", 96, 6)
    series = folder / "series"
    write_dicom_series(series, scan)
    shutil.make_archive(str(series), "zip", series)
    named = [file.relative_to(series).as_posix() for file in sorted(series.rglob("*.dcm"))]
    pd.DataFrame({"path": named, "label": "tumor"}).to_csv(folder / "series.csv", index=False)
    write_nifti(folder / "volumes" / "case", scan)
    cases = folder / "kits23" / "dataset"
    write_case(cases / "case_00000", scan)
    shutil.copy(shared / "data/kits23.json", cases)


def _make_small(folder: Path) -> None:
    """Let every backbone be a small network that trains for two batches, also from files."""
    conf = folder / "conf"
    tiny = yaml.safe_load((conf / "model/tiny.yaml").read_text("utf-8"))
    for number, name in enumerate(BACKBONES):
        path = conf / f"model/{name}.yaml"
        path.write_text(yaml.safe_dump(tiny | {"image_size": 32 + 8 * number}), "utf-8")
    (folder / "WEIGHTS").mkdir()
    weights = timm.create_model(tiny["backbone"], features_only=True).state_dict()
    save_file(weights, folder / "WEIGHTS" / f"{tiny['backbone']}-of-tests.safetensors")
    _change(conf / "config.yaml", "num_workers: 2 ", "num_workers: 0 ")
    _change(conf / "trainer/auto.yaml", "max_epochs: 8", "max_epochs: 1")
    _change(conf / "experiment/search.yaml", "trials: 20", "trials: 2")
    # In place of Kaggle; and "ct-kidney.zip" is what the pages give.
    kaggle = "kaggle:nazmul0087/ct-kidney-dataset-normal-cyst-tumor-and-stone"
    _change(conf / "data/ct_kidney.yaml", kaggle, "ct-kidney.zip")
    _change(
        conf / "data/phantom.yaml",
        "  scans_per_class: 12\n",
        "".join(f"  {name}: {value}\n" for name, value in SMALL_PHANTOM.items()),
    )
    params = yaml.safe_load((folder / "params.yaml").read_text("utf-8"))
    params["data"]["fetch"] |= SMALL_PHANTOM
    params["split"]["folds"] = 3
    params["trainer"]["max_epochs"] = 1
    params["model"]["image_size"] = 32
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


class Walk:
    """A user with a terminal for commands, and one more for each server.

    Attributes:
        said: what the last command printed.
    """

    def __init__(self, checkout: Checkout, web: str) -> None:
        self.checkout = checkout
        self.web = web  # the address of a kidney.onnx
        self.said = ""
        self.key = self.entry = ""
        self.address = self.tracking = ""
        self._done: set[str] = set()
        self._servers: dict[str, subprocess.Popen[str]] = {}

    def do(self, command: Command) -> None:
        """Run one command as it stands, but for names of hosts, ports and keys.

        A training that was done is not asked for again: it would only say that it is done.
        """
        if command.words[0] in ELSEWHERE or str(command) in self._done:
            return
        if command.words[:1] == ("python",) and command.words[1] in TRAININGS:
            self._done.add(str(command))
        if command.words[:2] == ("python", "scripts/promote.py") and not self._has_champion():
            self._set_champion()
        words = [self._known(word) for word in command.words]
        own = {name: self._known(value) for name, value in command.variables.items()}
        environment = self.checkout.environment() | own
        if words[:2] == ["python", "serve.py"]:
            self._serve(words, environment)
        elif words[:2] == ["mlflow", "ui"]:
            self._track(words, environment)
        else:
            self._run(command, words, environment)
        if "kidney.serving.guards.keys" in words:
            self.key, self.entry = re.findall(r"^  (\S+)$", self.said, re.M)

    def end(self) -> None:
        """Stop every server."""
        for name in tuple(self._servers):
            self._stop(name)

    def _known(self, word: str) -> str:
        for placeholder, real in {
            "radiology:8adf62...": self.entry,
            "Bearer kidney_...": f"Bearer {self.key}",
            "https://HOST/kidney.onnx": self.web,
            "http://127.0.0.1:5000": self.tracking,
            "http://127.0.0.1:8000": self.address,
            "http://HOST:8000": self.address,
        }.items():
            word = word.replace(placeholder, real)
        return word

    def _run(self, command: Command, words: list[str], environment: dict[str, str]) -> None:
        if words[0] == "curl":
            words = [*words, "--silent", "--show-error", "--fail-with-body"]
        done = subprocess.run(
            words, cwd=self.checkout.folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        self.said = done.stdout
        wanted = STATUS.get(" ".join(command.words), 0)
        assert done.returncode == wanted, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"

    def _serve(self, words: list[str], environment: dict[str, str]) -> None:
        self._stop("server")
        free = ["0" if word == "8000" else word for word in words]
        process = self._start("server", free, environment | {"KIDNEY_PORT": "0"})
        self.address = f"http://127.0.0.1:{address_of(process).rpartition(':')[2]}"

    def _track(self, words: list[str], environment: dict[str, str]) -> None:
        self._stop("tracking")
        port = _free_port()
        self.tracking = f"http://127.0.0.1:{port}"
        process = self._start("tracking", [*words, "--port", str(port)], environment)
        wait_for(self._tracks, process)

    def _tracks(self) -> bool:
        try:
            return requests.get(f"{self.tracking}/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _start(
        self, name: str, words: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[str]:
        self._servers[name] = subprocess.Popen(
            words, cwd=self.checkout.folder, env=environment, text=True,
            stdout=subprocess.PIPE if name == "server" else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if name == "tracking" else None,
        )  # fmt: skip
        return self._servers[name]

    def _stop(self, name: str) -> None:
        process = self._servers.pop(name, None)
        if process:
            process.terminate()
            process.communicate(timeout=GUARD)

    def _has_champion(self) -> bool:
        return (self.checkout.folder / "better").exists()

    def _set_champion(self) -> None:
        """Register two models that are worth it; what is trained here is near chance."""
        for name, skill in (("first", 1.0), ("better", 2.5)):
            write_evaluated(self.checkout.folder / name, name, skill=skill)
            write_int8_beside(self.checkout.folder / name / "kidney.onnx")
            self.checkout.run(
                "python", "scripts/promote.py", f"artifact={name}/kidney.onnx",
                f"registry.evaluation={name}", "registry.max_ece_rise=0.1",
            )  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
