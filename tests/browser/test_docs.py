"""The page of the interface, under the policy that forbids what is inline or from elsewhere."""

from collections.abc import Callable

from playwright.sync_api import Page, expect


def test_it_shows_every_route_and_its_answers(visit: Callable[..., Page]):
    page = visit("/api/v1/docs")
    for path in ("/api/v1/predictions", "/api/v1/model", "/healthz", "/readyz"):
        expect(page.get_by_text(path, exact=True)).to_be_visible()
    page.get_by_role("button", name="POST /api/v1/predictions").first.click()
    expect(page.get_by_text("A file is damaged.")).to_be_visible()
    expect(page.get_by_text("application/problem+json").first).to_be_attached()


def test_a_route_can_be_tried_from_it(visit: Callable[..., Page]):
    page = visit("/api/v1/docs")
    page.get_by_role("button", name="GET /healthz").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
