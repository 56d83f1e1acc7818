"""A second run whose scores all come from the store: ``python tests/benchmarks/store.py DATASET SPLIT ROWS MODEL …``.

Prints the second run against the first, in one process after imports, and as whole processes, each time with a new
store. The measures run on ONE thread, torch on its default number.
"""

import os
import subprocess
import sys
import tempfile
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

CODE = """
import sys, time
start = time.perf_counter()
import hf_leep
hf_leep.rank(sys.argv[4:], sys.argv[1], split=sys.argv[2], max_samples=int(sys.argv[3]), progress=False)
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def main(dataset, split, rows, *models):
    import hf_leep

    with tempfile.TemporaryDirectory() as home:
        os.environ["HF_HOME"] = home
        # So that the first run in process does not include imports.
        import transformers  # noqa: F401

        import hf_leep.models
        from hf_leep.inference import forward

        hf_leep.rank(
            models, dataset, split=split, max_samples=2, execution=hf_leep.Execution(cache=False), progress=False
        )  # datasets prepared
        times = []
        for _ in range(4):
            start = time.perf_counter()
            report = hf_leep.rank(models, dataset, split=split, max_samples=int(rows), progress=False)
            times.append(time.perf_counter() - start)
        assert all(candidate["run"]["from_store"] for candidate in report.candidates)
        first, second = times[0], sorted(times[1:])[1]
        print(f"{len(models)} models, {rows} rows, {forward.torch.get_num_threads()} torch threads")
        print(f"first run in process    {first:8.2f} s")
        print(f"second run, median of 3 {second:8.3f} s   {first / second:.0f} × faster (goal ≥ 50)")
        start = time.perf_counter()
        command = [sys.executable, "-c", CODE, dataset, split, rows, *models]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(
            f"as a whole process      {time.perf_counter() - start:8.2f} s   (goal < 5), imported of torch: {loaded}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
