"""Use the Space that shows reports as a visitor does; runs where playwright is; standard input says what to do."""

import json
import sys
from itertools import product

from playwright.sync_api import expect, sync_playwright

order = json.load(sys.stdin)


def new_page(browser, broken, width=1280, scheme="light"):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("dialog", lambda dialog: (broken.append(dialog.message), dialog.dismiss()))
    return page


def use(page, case):
    """Type a name and look at what comes."""
    page.get_by_label("Repository").fill(case["typed"])
    page.get_by_role("button", name="Show").click()
    if "error" in case:
        expect(page.get_by_role("alert").filter(has_text=case["error"])).to_be_visible()
        expect(page.locator("iframe.report")).to_have_count(0)
        return
    frame = page.frame_locator("iframe.report")
    expect(frame.get_by_role("heading", level=1)).to_contain_text(case["title"])
    expect(frame.get_by_role("status")).to_have_text("3 of 3 shown")
    frame.locator("#table .open").first.click()
    expect(frame.locator("#body dl")).to_be_visible()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=order["chromium"], args=["--no-sandbox"])
    expect.set_options(timeout=60_000)
    broken = []
    page = new_page(browser, broken)
    page.goto(order["url"])
    for case in order["cases"]:
        use(page, case)
        page.get_by_label("Repository").fill("")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("iframe.report, [role=alert].not-shown")).to_have_count(0)
        print(f"{case['typed']!r}: {'shown' if 'title' in case else case['error']}", flush=True)
    frame_rights = "allow-scripts"
    for width, scheme in product((1280, 390), ("light", "dark")):
        page = new_page(browser, broken, width, scheme)
        page.goto(order["url"] + "?report=user/ranking")
        expect(page.get_by_label("Repository")).to_have_value("user/ranking")
        frame = page.frame_locator("iframe.report")
        expect(frame.get_by_role("status")).to_have_text("3 of 3 shown")
        expect(page.locator("iframe.report")).to_have_attribute("sandbox", frame_rights)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"it is wider than {width} pixels"
        if order["screenshots"]:
            page.screenshot(path=f"{order['screenshots']}/space-{width}-{scheme}.png")
            page.goto(order["url"] + "?report=user/none")
            expect(page.get_by_role("alert").filter(has_text="There is no public")).to_be_visible()
            page.screenshot(path=f"{order['screenshots']}/space-error-{width}-{scheme}.png")
        print(f"{width} pixels, {scheme}: opened by its address", flush=True)
    assert not broken, broken
    browser.close()
