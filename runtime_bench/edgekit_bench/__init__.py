"""Loads a model on the device, checks it and times it. Python 3.8 or newer.

    python3 edgekit_bench JOB.json        (or - to read the job from standard input)

Needs a runtime that reads the model, and nothing else but numpy, which comes with them:
ai-edge-litert, tflite-runtime or tensorflow for .tflite, executorch (with torch) for .pte,
onnxruntime for .onnx. edgekit sends this folder to boards as one file, a zip that Python runs as
it runs the folder (`edgekit.core.bench`).

The job is a JSON object with the keys of `DEFAULTS` in job.py; an unknown key is refused. What
happens is printed as one JSON object a line:

    hello         versions of this program, Python and runtime; what the machine is
    environment   clocks, governors, temperatures, load; "when" is "before" or "after"
    load          ns to open the model and allocate; inputs and outputs
    first         ns of the first inference, and whether its outputs are finite
    check         outputs for the given inputs were written to the file the job names
    warmup        ns of each warm-up inference
    window        the clock's ns when sampling began and when it ended
    samples       ns of each inference; may come in several lines
    interference  how many cores this program and how many other work kept busy on average while
                  samples were taken; null where that is not known
    operators     if the job asks for them: ns by operator over some more runs, with the runtime's
                  profiler on; or why there are none ("unavailable")
    memory        bytes of resident memory before the load, after it, and at the peak; when the last
                  inference was done, of the model's file that is mapped (Rss and Pss), of what is
                  swapped out, of the runtime's arena, and of what drivers of GPUs and NPUs hold;
                  "unavailable" says why which is not told
    sensors       what edgekit_sampler.py wrote down beside all of this, if the job has "sensors":
                  its lines, when the model was not loaded yet (idle), and what went wrong; may come
                  in several lines
    done          why sampling stopped: "enough", "max_runs" or "time_budget"
    error         code, message and perhaps hint; the exit status is then 2 to 6

Times are of the monotonic clock in nanoseconds, memory is in bytes, temperatures in °C. With
"streams": N in the job, N processes load the model and are timed together; warmup, window and
samples then come once for each with its number as "stream" (0 for a single one), memory is their
sum.

A module is told by its first line. `main` reads the job and has it done by `one_stream`, or by
`many_streams`; these ask the others. What only some jobs need is imported where it is needed: out
of a zip, every start compiles what it imports.
"""

RUNNER_VERSION = "0.2.0"
PROTOCOL = 2
