"""A headless Chromium, where there is one."""

import shutil
from pathlib import Path

import pytest


def open_browser(profile: Path, width: int = 1100, height: int = 900, dark: bool = False):
    """A driver of selenium's, with an empty profile in ``profile``; skips the test where there is no Chromium."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium drives the browser')
    chromium = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    driver = shutil.which('chromedriver')
    if chromium is None or driver is None:
        pytest.skip('no Chromium with its driver here: apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        '--headless',
        '--no-sandbox',  # as root there is none
        '--disable-gpu',
        '--disable-quic',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-proxy-server',
        f'--user-data-dir={profile}',
        f'--window-size={width},{height}',
        *(['--force-dark-mode', '--blink-settings=preferredColorScheme=0'] if dark else []),
    ):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
