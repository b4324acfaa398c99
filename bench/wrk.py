"""wrk as the closed loop's client, where it is installed: in C, it leaves the load's core to the upstream."""

import json
import resource
import subprocess
import tempfile
from pathlib import Path

from bench.client import chat_request
from bench.jobs import Quantiles, Report, Unary
from bench.loop import Window

_WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[%s]==]
%s
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests":%%d,"connect":%%d,"read":%%d,"write":%%d,"timeout":%%d,"status":%%d,"p50":%%d,"p99":%%d,"max":%%d}\\n',
    summary.requests, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def run_wrk(job: Unary, wrk: str) -> Report:
    """Let wrk run the closed loop: a C client leaves the subject more of the other core's upstream."""
    headers, body = chat_request(key=job.key, model=job.model, canned=None, more=job.headers)
    lines = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "chat.lua"
        script.write_text(_WRK_SCRIPT % (body.decode(), lines))
        command = [wrk, "-t1", f"-c{job.connections}", f"-d{max(1, round(job.seconds))}s", "-s", str(script)]
        command.append(f"http://127.0.0.1:{job.port}{job.path}")
        report, used_s = Report(tool="wrk"), _children_cpu_s()
        window = Window(job)
        ended = subprocess.run(command, capture_output=True, check=True, timeout=job.seconds + 30)  # noqa: S603
        window.close(report)
    report.load_cpu_s = _children_cpu_s() - used_s
    summary = json.loads(ended.stdout.splitlines()[-1])
    report.requests = report.requests_in_window = summary["requests"]
    for reason in ("connect", "read", "write", "timeout", "status"):
        report.fail(reason, summary[reason])
    report.latency_ms = Quantiles(
        count=report.requests, p50=summary["p50"] / 1000, p99=summary["p99"] / 1000, max=summary["max"] / 1000
    )
    return report


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
