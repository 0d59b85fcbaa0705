"""Written by `skein load export`. Run it with:

SKEIN_URL=https://… SKEIN_API_KEY=skn_… locust -f this-file.py --headless --only-summary

Locust has users and not arrivals: each makes requests at a constant rate, and their number follows the scenario. While the
platform stalls, they wait for it, so that latencies look better than they are; `skein load` and k6 do not have that.
"""

import os
import random
import urllib.request

import gevent
from locust import FastHttpUser, LoadTestShape, constant_throughput, events, task

URL = os.environ.get("SKEIN_URL", "http://127.0.0.1:8700")
HEADERS = {"Authorization": "Bearer " + os.environ.get("SKEIN_API_KEY", "")}
AGENT = /*agent*/
BODY = {"agent": AGENT, "input": /*input*/, "metadata": {"load": /*scenario*/}}
DEFINITION = /*definition*/
MIX = /*mix*/
# Seconds, and requests a second at the beginning and at the end.
STAGES = /*stages*/
RATE_OF_A_USER = /*rate_of_a_user*/
P95_MS = /*p95_ms*/
ERRORS_PERCENT = /*errors_percent*/

runs = []


class Client(FastHttpUser):
    host = URL
    wait_time = constant_throughput(RATE_OF_A_USER)

    def on_start(self):
        # Those that are started together would ask together ever after.
        gevent.sleep(random.random() / RATE_OF_A_USER)

    @task
    def operation(self):
        (name,) = random.choices([name for name, _ in MIX], [weight for _, weight in MIX])
        getattr(self, name)()

    def ask(self, name, method, path, body=None):
        """The answer, if it is a good one."""
        with self.client.request(
            method, path, json=body, headers=HEADERS, name=name, catch_response=True
        ) as answer:
            if answer.status_code in (200, 202):
                return answer.json()
            answer.failure(f"{answer.status_code} {answer.text}")

    def create_run(self):
        run = self.ask("create_run", "POST", "/v1/runs", BODY)
        if run:
            runs[:] = [*runs[-99:], run["id"]]

    def read_run(self):
        # The first may come before any run is known.
        if runs:
            self.ask("read_run", "GET", f"/v1/runs/{random.choice(runs)}")
        else:
            self.create_run()

    def list_runs(self):
        self.ask("list_runs", "GET", "/v1/runs")

    def read_agent(self):
        self.ask("read_agent", "GET", f"/v1/agents/{AGENT}")


class Shape(LoadTestShape):
    def tick(self):
        at = self.get_run_time()
        for lasts, begin, end in STAGES:
            if at < lasts:
                rate = begin + (end - begin) * at / lasts
                users = round(rate / RATE_OF_A_USER)
                return users, max(users, 1)
            at -= lasts
        return None


@events.test_start.add_listener
def store_agent(environment, **_):
    if DEFINITION:
        request = urllib.request.Request(
            f"{URL}/v1/agents/{AGENT}",
            DEFINITION.encode(),
            {**HEADERS, "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()


@events.quitting.add_listener
def judge(environment, **_):
    total = environment.stats.total
    p95 = total.get_response_time_percentile(0.95) or 0
    failed = total.fail_ratio * 100
    met = total.num_requests > 0 and failed <= ERRORS_PERCENT and (not P95_MS or p95 <= P95_MS)
    verdict = "met" if met else "missed"
    print(f"targets {verdict}: {total.num_requests} requests, {failed:.3f} % failed, p95 {p95} ms")
    environment.process_exit_code = 0 if met else 1
