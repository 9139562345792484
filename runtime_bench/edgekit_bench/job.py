"""The job: its keys, their defaults, and what is refused."""

import json
import math
import sys

from . import PROTOCOL
from .events import Failure
from .wheels import RUNTIMES

DEFAULTS = {
    "protocol": None,  # required: PROTOCOL
    "model": None,  # required: path of the model
    "sha256": None,  # if given, the file must have this digest (hex)
    "runtime": None,  # a name of RUNTIMES; the first that is there and reads the file if not given
    "names": None,  # {"inputs": […], "outputs": […]} in order, for a file that keeps none (.pte)
    "inputs": None,  # .npz with the model's inputs, one row a sample: "in:<name>" or "<name>"
    "outputs": None,  # where to write an .npz with the outputs for all of them: "out:<name>"
    "threads": 1,
    "operators": False,  # whether to tell the time of each operator, too
    "streams": 1,  # processes that run the model at the same time
    "batch": None,  # size of the first dimension of every input; as in the model if not given
    "warmup_runs": 0,  # both must be reached
    "warmup_seconds": 0.0,
    "runs": 1,  # both must be reached; with neither nothing is timed
    "min_seconds": 0.0,
    "sample_every": 1,  # only every so many-th inference is timed, for very long runs
    "max_runs": 200000,  # timed ones; sampling stops there even if min_seconds is not reached
    "time_budget_seconds": 600.0,  # from the start of the process; sampling stops then
    "sensors": None,  # {"sampler": path of edgekit_sampler.py, "spec": its spec, "idle_seconds": N}
}


def read_job(reference):
    """The job in the file `reference`, or on standard input if it is "-", validated."""
    try:
        if reference == "-":
            text = sys.stdin.buffer.read().decode("utf-8")
        else:
            with open(reference, encoding="utf-8") as file:
                text = file.read()
        data = json.loads(text)
    except (OSError, ValueError) as exc:
        raise Failure(2, "bad_job", "cannot read the job %r: %s" % (reference, exc))
    return validate(data)


def validate(data):
    """`data` with defaults filled in. Raises Failure, naming the key, if anything is not right."""
    if not isinstance(data, dict):
        raise Failure(2, "bad_job", "the job is not a JSON object")
    unknown = sorted(set(data) - set(DEFAULTS))
    if unknown:
        raise Failure(
            2,
            "bad_job",
            "unknown key %r in the job; allowed: %s" % (unknown[0], ", ".join(sorted(DEFAULTS))),
        )
    job = dict(DEFAULTS, **data)
    if job["protocol"] != PROTOCOL:
        raise Failure(
            2,
            "bad_job",
            "the job has protocol %r, this runner speaks %d" % (job["protocol"], PROTOCOL),
            "use the runner and the edgekit of one version",
        )
    for key in ("model", "sha256", "runtime", "inputs", "outputs"):
        value = job[key]
        if value is None and key != "model":
            continue
        if not isinstance(value, str) or not value:
            raise Failure(2, "bad_job", "%s = %r is not a text" % (key, value))
    names = [name for name, _, _ in RUNTIMES]
    if job["runtime"] is not None and job["runtime"] not in names:
        raise Failure(
            2, "bad_job", "there is no runtime %r; known: %s" % (job["runtime"], ", ".join(names))
        )
    if job["names"] is not None:
        _names(job["names"])
    if not isinstance(job["operators"], bool):
        raise Failure(2, "bad_job", "operators = %r is not true or false" % (job["operators"],))
    if job["sensors"] is not None:
        _sensors(job["sensors"])
    if job["outputs"] and not job["inputs"]:
        raise Failure(2, "bad_job", "outputs is given, but no inputs to compute them from")
    _whole_number(job, "threads", 1)
    _whole_number(job, "streams", 1)
    if job["operators"] and job["streams"] != 1:
        raise Failure(2, "bad_job", "operators are told of one stream, not of %d" % job["streams"])
    if job["outputs"] and job["streams"] != 1:
        raise Failure(2, "bad_job", "outputs are written by one stream, not by %d" % job["streams"])
    if job["batch"] is not None:
        _whole_number(job, "batch", 1)
    for key in ("warmup_runs", "runs"):
        _whole_number(job, key, 0)
    _whole_number(job, "max_runs", 1)
    _whole_number(job, "sample_every", 1)
    for key in ("warmup_seconds", "min_seconds", "time_budget_seconds"):
        value = job[key]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise Failure(
                2, "bad_job", "%s = %r is not a number of seconds, zero or more" % (key, value)
            )
    if job["time_budget_seconds"] <= 0:
        raise Failure(2, "bad_job", "time_budget_seconds must be above zero")
    if job["runs"] > job["max_runs"]:
        raise Failure(
            2, "bad_job", "runs = %d is more than max_runs = %d" % (job["runs"], job["max_runs"])
        )
    return job


def _names(value):
    good = isinstance(value, dict) and set(value) == {"inputs", "outputs"}
    for listed in value.values() if good else ():
        good = good and isinstance(listed, list) and all(isinstance(n, str) and n for n in listed)
    if not good:
        raise Failure(
            2, "bad_job", 'names = %r is not {"inputs": [texts], "outputs": [texts]}' % (value,)
        )


def _sensors(value):
    wanted = {"sampler": str, "spec": dict, "idle_seconds": (int, float)}
    good = isinstance(value, dict) and set(value) == set(wanted)
    good = good and all(isinstance(value[key], kind) for key, kind in wanted.items())
    if not good or not 0 <= value["idle_seconds"] <= 600:
        raise Failure(
            2,
            "bad_job",
            'sensors = %r is not {"sampler": text, "spec": object, "idle_seconds": 0 to 600}'
            % (value,),
        )


def _whole_number(job, key, least):
    value = job[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Failure(2, "bad_job", "%s = %r is not a whole number >= %d" % (key, value, least))
