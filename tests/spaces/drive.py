"""Use one page as a visitor does; runs where playwright is, and reads what to do as JSON from standard input."""

import json
import math
import sys

from playwright.sync_api import expect, sync_playwright

order = json.load(sys.stdin)
title = order["title"]
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=order["chromium"], args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    broken = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(order["url"])
    expect(page.get_by_role("heading", name="Metric Card for")).to_be_visible()  # the card, without its metadata
    expect(page.get_by_text("Higher is better.").first).to_be_visible()
    assert "sdk_version" not in page.content()
    result = page.get_by_label("result")
    for case in order["cases"]:
        if "rows" in case:
            page.get_by_label("one example a line").fill(case["rows"])
        if "labels" in case:
            page.get_by_label("target labels: numbers").fill(case["labels"])
        if "file" in case:
            page.locator("input[type=file]").first.set_input_files(case["file"])
            expect(page.get_by_text("rows.npy").or_(page.get_by_text("rows", exact=True)).first).to_be_visible()
        softmax = page.get_by_label("the predictions are logits")
        if softmax.count():
            softmax.set_checked(case.get("logits", False))
        before = result.input_value()
        page.get_by_role("button", name="Submit").click()
        expect(result).not_to_have_value(before)
        said = result.input_value()
        if "error" in case:
            assert case["error"] in said, said
        else:
            assert said.startswith(f"{title} = "), said
            shown = float(said.removeprefix(f"{title} = ").split()[0].rstrip("."))
            # Shown with six digits, of rows that are stored as float32.
            assert math.isclose(shown, case["value"], rel_tol=2e-5, abs_tol=1e-6), (shown, case)
        print(f"{order['module']}: {case['what']}: {said}", flush=True)
    if order["screenshot"]:
        page.screenshot(path=order["screenshot"], full_page=True)
    assert not broken, broken
    browser.close()
