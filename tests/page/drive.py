"""Use one report.html as a visitor does; runs where playwright is; standard input says what to do, as JSON."""

import json
import sys
from itertools import product

from playwright.sync_api import expect, sync_playwright

order = json.load(sys.stdin)
count = order["candidates"]


def values(page, column):
    return page.locator(f"#table tbody tr > :nth-child({column})").evaluate_all("cells => cells.map(c => c.dataset.v)")


def sort(page):
    """The headings sort, in both directions, and say so."""
    ranks = values(page, 1)
    assert ranks == [str(k + 1) for k in range(count)]
    page.locator("#table thead th").nth(0).get_by_role("button").click()
    assert values(page, 1) == ranks[::-1]
    expect(page.locator("#table thead th").nth(0)).to_have_attribute("aria-sort", "descending")
    names = page.locator("#table thead th").nth(2)
    names.get_by_role("button").press("Enter")
    expect(names).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("[aria-sort]")).to_have_count(1)
    found = page.evaluate("cells => cells.slice().sort((a, b) => a.localeCompare(b))", values(page, 3))
    assert values(page, 3) == found
    page.locator("#table thead th").nth(0).get_by_role("button").click()


def filtered(page):
    """The filters hide rows, and the number of rows is said."""
    shown = page.locator("#table tbody tr:visible")
    page.get_by_label("Name or licence").fill("no candidate is called this")
    expect(shown).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text(f"0 of {count} shown")
    page.get_by_label("Name or licence").fill("")
    page.get_by_label("only those tied with the first").check()
    expect(shown).to_have_count(page.locator("tr[data-tied]").count())
    page.get_by_label("only those tied with the first").uncheck()
    if page.locator("#limit").count():
        limit = page.locator("#limit").locator("option").nth(1).get_attribute("value")
        page.locator("#limit").select_option(limit)
        sizes = shown.evaluate_all("rows => rows.map(row => Number(row.dataset.size))")
        assert 0 < len(sizes) < count, sizes
        assert max(sizes) <= int(limit)
        page.locator("#limit").select_option("")
    expect(page.get_by_role("status")).to_have_text(f"{count} of {count} shown")


def details(page):
    """A name opens its details, buttons go on, and the keyboard reaches the intervals."""
    first = page.locator("#table .open").first
    first.focus()
    expect(page.get_by_role("tooltip")).to_contain_text("95")
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    page.locator("#table .score").first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("95")
    first.press("Enter")
    expect(page.locator("#details")).to_be_focused()
    expect(page.locator("#details")).to_have_text(f"1. {first.text_content()}")
    expect(page.locator("#body dl")).to_be_visible()
    expect(page.locator("#previous")).to_be_disabled()
    if page.locator("#body .map").count():
        expect(page.get_by_role("heading", name="Hardest rows")).to_be_visible()
        page.locator(".map .some").first.hover()
        expect(page.get_by_role("tooltip")).to_contain_text("of")
    if order["thumbnails"]:
        images = page.locator("#body .pictured img")
        expect(images.first).to_be_visible()
        assert all(images.evaluate_all("all => all.map(image => image.complete && image.naturalWidth > 0)"))
        assert images.first.get_attribute("alt").startswith("thumbnail of row ")
    for _ in range(count - 1):
        page.locator("#next").click()
    expect(page.locator("#details")).to_contain_text(f"{count}. ")
    expect(page.locator("#next")).to_be_disabled()
    points = page.locator("#plot g")
    if points.count():
        points.first.focus()
        page.keyboard.press("ArrowRight")
        expect(points.nth(1)).to_be_focused()
        expect(points.nth(1)).to_have_attribute("tabindex", "0")
        page.keyboard.press("Enter")
        expect(page.locator("#details")).to_be_focused()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=order["chromium"], args=["--no-sandbox"])
    for width, scheme in product((1280, 390), ("light", "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        broken, asked = [], []
        page.on("pageerror", lambda error, to=broken: to.append(str(error)))
        page.on("console", lambda message, to=broken: to.append(message.text))
        page.on("dialog", lambda dialog, to=broken: (to.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request, to=asked: to.append(request.url))
        page.goto(order["url"])
        sort(page)
        filtered(page)
        details(page)
        for title in order["sections"]:
            expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"it is wider than {width} pixels"
        if width == 390 and page.locator("#table").count():
            edges = page.locator("#table .score").evaluate_all(
                "cells => cells.map(c => c.getBoundingClientRect().right)"
            )
            assert max(edges) <= width, f"the scores end {max(edges)} pixels from the left"
        cut = page.locator("#plot text").evaluate_all(
            "all => all.filter(e => e.getBBox().x < 0 || e.getBBox().x + e.getBBox().width > e.ownerSVGElement."
            "clientWidth).map(e => e.textContent)"
        )
        assert not cut, f"the plot cuts off {cut}"
        unnamed = page.locator("button, input, select, [role=region], [role=img]").evaluate_all(
            "all => all.filter(e => !(e.textContent.trim() || e.labels?.length || e.ariaLabel || "
            "e.getAttribute('aria-labelledby'))).map(e => e.outerHTML)"
        )
        assert not unnamed, unnamed
        asked = [address for address in asked if not address.startswith("data:image/jpeg;base64,")]
        assert asked == [order["url"]], asked
        assert not broken, broken
        if order["screenshots"]:
            page.mouse.move(0, 0)
            page.screenshot(path=f"{order['screenshots']}/{order['report']}-{width}-{scheme}.png", full_page=True)
        print(
            f"{order['report']}: {width} pixels, {scheme}: {count} candidates sorted, filtered and opened", flush=True
        )
        page.close()
    browser.close()
