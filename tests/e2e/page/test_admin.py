"""The operator's view: queues, workers, failures, webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from deploy.embedded.stack import TENANT, Stack
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel
from shared.tenants.api_keys import KeyRing
from tests.e2e.page.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Visit = Callable[..., Visitor]


@pytest.fixture
def paused(client: httpx.Client) -> Iterator[str]:
    """The name of the queue of the page's jobs, which is paused; it goes on after the test."""
    name = "facemend-starter.normal"
    client.post(f"/v1/queues/{name}/pause").raise_for_status()
    yield name
    client.post(f"/v1/queues/{name}/resume").raise_for_status()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_operator_sees_what_waits_and_lets_it_go_on(
    visit: Visit, paused: str, client: httpx.Client, box_of_photos: list[Path], scheme: str
) -> None:
    customer = visit()
    customer.add(box_of_photos[:4])
    customer.restore()
    expect(customer.page.locator('.photo[data-state="queued"]')).to_have_count(4)
    operator = visit("/admin", color_scheme=scheme)
    page = operator.page
    expect(page.locator("#fact-queued")).to_have_text("4")
    expect(page.locator("#fact-state")).to_have_text("Up")
    row = page.locator("#queues tr").nth(1)
    expect(row).to_contain_text("Paused")
    operator.assert_accessible()
    operator.screenshot(f"admin-{scheme}")
    row.locator("button").click()
    expect(row).not_to_contain_text("Paused")
    customer.wait_until_done()
    expect(page.locator("#fact-queued")).to_have_text("0")
    expect(page.locator("#failures tr")).to_contain_text(["broken-scan.jpg"])
    expect(page.locator("#failures tr").first).to_contain_text("The file is damaged")
    expect(page.locator("#workers tr")).to_contain_text(["facemend-starter"])
    operator.screenshot(f"admin-after-{scheme}")
    operator.assert_accessible()
    attempts = client.get("/v1/restorations?status=failed").json()["data"][0]["attempt"]
    assert attempts == 1
    page.locator("#failures button").first.click()
    expect(page.locator("#live")).to_contain_text("Try again: done for job_")


def test_a_photo_in_a_paused_queue_is_cancelled_and_tried_again(
    visit: Visit, paused: str, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    page = visitor.page
    visitor.add(box_of_photos[1:3])
    visitor.restore()
    visitor.look_at("eileen-1.jpg")
    page.locator("#cancel").click()
    expect(page.locator("#photo-state")).to_have_text("Cancelled")
    visitor.screenshot("cancelled")
    (job,) = client.get("/v1/restorations?status=canceled").json()["data"]
    assert job["metadata"]["file"] == "eileen-1.jpg"
    client.post(f"/v1/queues/{paused}/resume")
    page.locator("#retry").click()
    visitor.wait_until_done()
    expect(page.locator("#photo-state")).to_have_text("1 face restored")


def test_the_pool_of_a_queue_and_of_a_worker_is_shown_if_it_is_not_the_default_one(
    visit: Visit, stack: Stack
) -> None:
    model = ServedModel("gpen-bfr-512", "e" * 64, 512, "MIT", "fp16", "torch", 8.0)
    store = JobStore.connect(stack.settings())
    store.workers.announce("gpu-7", [model], pool="eu-west")
    operator = visit("/admin")
    row = operator.page.locator("#queues tr").filter(has_text="pool eu-west").first
    expect(row).to_contain_text("gpen-bfr-512")
    expect(operator.page.locator("#workers tr").filter(has_text="gpu-7")).to_contain_text(
        "pool eu-west"
    )
    expect(operator.page.locator("#queues tr").filter(has_text="pool default")).to_have_count(0)
    operator.screenshot("admin-pools")
    operator.assert_accessible()
    store.workers.forget("gpu-7")


def test_dead_letters_are_listed_by_endpoint_and_sent_again(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    nowhere = "http://127.0.0.1:9/hook"
    delivery = client.post("/v1/webhooks/test", json={"url": nowhere}).json()
    operator = visit("/admin")
    page = operator.page
    expect(page.locator("#endpoints tr")).to_contain_text([nowhere])
    letter = page.locator("#letters tr").first
    expect(letter).to_contain_text("webhook.test")
    letter.locator("button").click()
    expect(page.locator("#live")).to_contain_text(f"Send again: done for {delivery['id']}")


def test_a_key_without_the_scope_admin_sees_that_it_has_none(visit: Visit, stack: Stack) -> None:
    visitor = visit("/admin", signed_in=False)
    expect(visitor.page.locator("#sign-in-why")).to_contain_text("scope “admin”")
    _, key = KeyRing.connect(stack.settings()).create(TENANT, "reader", {"restorations:read"})
    visitor.page.locator("#key").fill(key)
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#no-access")).to_be_visible()
    expect(visitor.page.locator("#panels")).to_be_hidden()
