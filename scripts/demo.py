"""The main job on drawn patients, command by command, as a user would type it."""

import base64
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from kidney.evaluation.result import EvaluationResult, Figure, Localisation
from kidney.reporting.labels import with_interval

ARTIFACTS = Path("demo/artifacts")
TRAINED, SHIPPED = ARTIFACTS / "kidney.onnx", Path("models/kidney.onnx")
SAMPLE = Path("kidney/serving/static/sample-phantom.zip")
COMMANDS = (
    "scripts/train_lesions.py --config-name demo",
    "scripts/evaluate.py experiment=demo",
    "scripts/localise.py experiment=demo",
)
# Ends of the intervals that a model far from chance stays above: 0.5 of a macro AUROC is chance,
# and a blind peak hits one lesion in a hundred.
LEAST_AUROC, LEAST_INSIDE = 0.75, 0.5
DECISIONS = {
    "needs_review": "not sure: a radiologist has to look",
    "not_a_kidney_ct": "not a kidney CT",
}


def main() -> None:
    """Train, evaluate, localise, ask the server about a series, and say where everything lies."""
    began = time.monotonic()
    for command in COMMANDS:
        print(f"\n$ python {command}", flush=True)
        subprocess.run([sys.executable, *command.split()], check=True)
    report = ARTIFACTS / "evaluation/external-phantom/metrics.json"
    found = ARTIFACTS / "localisation/phantom/localisation.json"
    evaluated = EvaluationResult.read_file(report)
    localised = Localisation.model_validate_json(found.read_bytes())
    auroc, inside = evaluated.figures["macro_auroc"], localised.localisation["peak_inside"]
    model = SHIPPED if SHIPPED.is_file() else TRAINED
    print(f"\nAnswer of {model} for {SAMPLE}:\n{words(_ask_server(model))}")
    print(
        f"\nOf drawn patients that {TRAINED} has not seen, with 95 % intervals over patients:\n"
        f"  macro AUROC                       {with_interval(auroc)}, "
        f"{evaluated.slices} slices of {evaluated.patients} patients\n"
        f"  evidence peaks inside the lesion  {with_interval(inside)}, "
        f"{localised.slices} slices of {localised.patients} patients\n"
        "They are drawings: these figures say that the system works, and nothing about patients.\n"
        f"\nReport            {report.with_name('report.html')}\n"
        f"Lesions           {found.with_suffix('.html')}\n"
        f"Overlay picture   {ARTIFACTS}/overlay.png\n"
        f"Model             {TRAINED}\n"
        "Tracking store    demo/mlflow.db  "
        "(mlflow ui --backend-store-uri sqlite:///demo/mlflow.db)\n"
        f"Done in {time.monotonic() - began:.0f} s."
    )
    if near_chance(auroc, LEAST_AUROC) or near_chance(inside, LEAST_INSIDE):
        sys.exit("The model is near chance: something is broken.")


def near_chance(figure: Figure, least: float) -> bool:
    """Tell whether a figure's interval reaches below what chance could explain."""
    return figure.low is None or figure.low < least


def _ask_server(model: Path) -> dict[str, Any]:
    """Start serve.py on a free port, send the sample, stop it; return the answer."""
    command = ["serve.py", "--model", str(model), "--port", "0"]
    print(f"\n$ KIDNEY_AUTH=off python {' '.join(command)}", flush=True)
    server = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"KIDNEY_AUTH": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip().removeprefix("Serving on ")
        if not address:
            sys.exit(f"The server did not start; see python {' '.join(command)}.")
        url = f"{address}/api/v1/predictions?overlay=png"
        print(f"$ curl -F file=@{SAMPLE} '{url}'", flush=True)
        with SAMPLE.open("rb") as file:
            response = requests.post(url, files={"file": file}, timeout=60)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
    finally:
        server.terminate()
        server.wait(timeout=30)


def words(answer: dict[str, Any]) -> str:
    """Say what the answer to a series holds, and keep the overlay of its most telling slice."""
    (series,), predictions = answer["series"], answer["predictions"]
    telling = series["decisive"][0]
    picture = predictions[telling]["overlay"].split(",", 1)[1]
    (ARTIFACTS / "overlay.png").write_bytes(base64.b64decode(picture))
    total = len(predictions)
    shares = sorted(series["probabilities"].items(), key=lambda item: -item[1])
    suspected = [f"{name} on {n} of {total} slices" for name, n in series["suspected"].items() if n]
    return "\n".join(
        [
            f"  Probability        {', '.join(f'{name} {share:.0%}' for name, share in shares)}",
            f"  Decision           {DECISIONS.get(series['decision'], series['decision'])}",
            f"  Cannot be excluded {', '.join(suspected) or 'nothing'}",
            f"  Most telling       slice {telling + 1} of {total}, from the head",
        ]
    )


if __name__ == "__main__":
    main()
