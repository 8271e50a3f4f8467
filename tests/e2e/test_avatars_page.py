"""The page of the example in a real browser, as its visitor sees it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from backburner.demo.services import Services, example_folder

PHOTOS = example_folder() / "photos"
PATIENCE = 30  # seconds
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # Chromium's own does not work for root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        assert not os.environ.get("CI"), "the browser tests need chromium and chromedriver"
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in SWITCHES:
        options.add_argument(switch)
    with webdriver.Chrome(options, Service(driver)) as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Services]:
    with Services(tmp_path, {"AVATARS_MAX_WAITING": "2"}) as services:
        services.start_web()
        yield services


def choose(browser: webdriver.Chrome, *names: str) -> None:
    paths = "\n".join(str(PHOTOS / name) for name in names)
    browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(paths)


def card(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.XPATH, f"//article[h2='{name}']")


def wait_for_text(browser: webdriver.Chrome, name: str, text: str) -> None:
    WebDriverWait(browser, PATIENCE).until(
        lambda _: text in card(browser, name).find_element(By.CLASS_NAME, "state").text,
        f"{name} never said {text!r}",
    )


def test_a_visitor_sees_processing_and_then_the_thumbnails(browser: webdriver.Chrome, site: Services) -> None:
    browser.get(site.url)
    choose(browser, "fig.jpg")
    wait_for_text(browser, "fig.jpg", "processing…")
    assert not card(browser, "fig.jpg").find_elements(By.CSS_SELECTOR, "a img")

    site.start_worker(1)
    wait_for_text(browser, "fig.jpg", "64, 128 and 512 pixels")

    images = card(browser, "fig.jpg").find_elements(By.CSS_SELECTOR, "a img")
    sizes = {(image.get_property("naturalWidth"), image.get_property("naturalHeight")) for image in images}
    assert sizes == {(64, 64), (128, 128), (512, 512)}
    assert all(image.is_displayed() and image.get_attribute("alt") for image in images)
    assert (
        browser.find_element(By.ID, "news").get_property("textContent") == "fig.jpg: 64, 128 and 512 pixels"
    )
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_a_file_that_is_no_photo_is_told_to_the_visitor(browser: webdriver.Chrome, site: Services) -> None:
    site.start_worker(1)
    browser.get(site.url)
    choose(browser, "not-a-photo.jpg", "cat.jpg")
    wait_for_text(browser, "not-a-photo.jpg", "This file is not a photo that we can read.")
    wait_for_text(browser, "cat.jpg", "64, 128 and 512 pixels")


def test_the_page_comes_back_by_itself_when_the_queue_was_full(
    browser: webdriver.Chrome, site: Services
) -> None:
    browser.get(site.url)
    browser.execute_script(  # the page's clock runs fast: Retry-After may be half a minute
        "const timer = setTimeout; window.setTimeout = (call, ms) => timer(call, ms / 50)"
    )
    choose(browser, "cat.jpg", "coffee.jpg")
    wait_for_text(browser, "cat.jpg", "processing…")
    wait_for_text(browser, "coffee.jpg", "processing…")
    choose(browser, "fig.jpg")
    wait_for_text(browser, "fig.jpg", "trying again in")

    site.start_worker(1)
    wait_for_text(browser, "fig.jpg", "64, 128 and 512 pixels")


@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_is_cut_off_in_a_narrow_or_a_wide_window(
    browser: webdriver.Chrome, site: Services, width: int
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(site.url)
    choose(browser, "fig.jpg", "not-a-photo.jpg")
    wait_for_text(browser, "fig.jpg", "processing…")
    page = "document.documentElement"
    content, room, window = browser.execute_script(
        f"return [{page}.scrollWidth, {page}.clientWidth, window.innerWidth]"
    )
    assert (content, window) == (room, width)
