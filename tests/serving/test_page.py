"""The page in a browser: what people do, see and hear."""

import base64

import pytest
from browser import open_browser
from decided_digits import digit_images, make_digits
from PIL import Image
from serving_helpers import picture, running

from mmdensenet.apis import open_inferencer
from mmdensenet.apis.decide_checkpoint import decide_checkpoint
from mmdensenet.serving import Predictor

pytestmark = pytest.mark.slow  # a browser takes seconds to start


@pytest.fixture(scope='module')
def server(inferencer):
    with running(Predictor(inferencer, max_pixels=1_000_000), name='tiny', max_bytes=60_000) as (url, app):
        yield url, app


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp('profile'))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):
    browser.get(server[0])
    wait(browser, lambda: text(browser, '#model') == 'tiny')
    yield browser
    severe = [entry for entry in browser.get_log('browser') if 'responded with a status of' not in entry['message']]
    assert severe == [], 'no script failed, and nothing was against the content security policy'


def wait(browser, condition, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds).until(lambda driver: condition())


def find(browser, selector):
    return browser.find_elements('css selector', selector)


def text(browser, selector):
    return find(browser, selector)[0].text


def done(browser, cards=1):
    wait(browser, lambda: len(find(browser, '.card[aria-busy="false"]')) == cards)


def choose(browser, *files):
    find(browser, '#file')[0].send_keys('\n'.join(map(str, files)))


def test_an_image_gets_its_classes_and_a_map(page, predictor, tmp_path):
    file = tmp_path / 'some picture.jpg'
    file.write_bytes(picture(3))
    choose(page, file)
    done(page)
    scores = predictor.predict([predictor.prepare(file.read_bytes())[1]])[0]
    expected = predictor.best(scores, 5)
    rows = find(page, '.class')
    assert [row.find_element('css selector', '.name').text for row in rows] == [e['class'] for e in expected]
    shown = [row.find_element('css selector', '.score').text for row in rows]
    assert shown == [f'{100 * entry["score"]:.1f} %' for entry in expected]
    assert text(page, '.card h3') == 'some picture.jpg'
    said = page.execute_script("return document.getElementById('status').textContent")
    assert said == f'some picture.jpg: {expected[0]["class"]}, {shown[0]}', 'a screen reader hears it'

    image = find(page, '.picture img')[0]
    wait(page, lambda: page.execute_script('return arguments[0].naturalWidth', image) == 64)
    overlay = image.get_attribute('src')
    content = base64.b64decode(overlay.partition(',')[2])
    prepared = predictor.prepare(file.read_bytes())[1]
    pictures = predictor.pictures(prepared, predictor.activations([(prepared, expected[0]['label'])])[0])
    assert content == base64.b64decode(pictures['overlay'].partition(',')[2])
    assert [row.get_attribute('aria-pressed') for row in rows] == ['true', 'false', 'false', 'false']

    find(page, '[data-view="input"]')[0].click()
    assert image.get_attribute('src') == pictures['input'] and 'as the model sees it' in image.get_attribute('alt')
    from selenium.webdriver.common.keys import Keys

    rows[2].send_keys(Keys.ENTER)  # another class, by keyboard
    wait(page, lambda: rows[2].get_attribute('aria-pressed') == 'true')
    assert expected[2]['class'] in text(page, 'figcaption')
    assert rows[0].get_attribute('aria-pressed') == 'false'


def test_what_cannot_be_shown_says_why(page, tmp_path):
    contents = {
        'cut.jpg': picture()[:400],
        '<img src=x onerror=document.title=1>.txt': b'no image',
        'large.png': bytes(70_000),
        'wide.webp': picture(size=(2000, 600), kind='WEBP'),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    choose(page, *[tmp_path / name for name in contents])
    done(page, 4)
    assert [card.text for card in find(page, '.card.failed h3')] == list(contents), 'names are text, in their order'
    messages = [details.text for details in find(page, '.card.failed .details')]
    assert 'cut short or damaged' in messages[0] and 'no image in a format' in messages[1]
    assert 'the limit is' in messages[2] and '2000 x 600 pixels' in messages[3]
    assert page.title == 'tiny, mmdensenet'
    find(page, '.remove')[0].click()
    assert len(find(page, '.card')) == 3
    find(page, '#clear')[0].click()
    assert find(page, '.card') == [] and find(page, '#empty')[0].is_displayed()
    assert page.switch_to.active_element.get_attribute('id') == 'file', 'the keyboard is not lost'


@pytest.mark.parametrize('how', ['drop', 'paste'])
def test_dropping_and_pasting(page, how):
    page.execute_script(
        """
        const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], 'given.png', {type: 'image/png'}));
        document.dispatchEvent(arguments[1] === 'drop'
            ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        """,
        base64.b64encode(picture(5, kind='PNG')).decode(),
        how,
    )
    done(page)
    assert text(page, '.card h3') == 'given.png' and len(find(page, '.class')) == 4


def test_it_fits_a_narrow_screen_and_has_names_for_everything(page, tmp_path):
    file = tmp_path / ('a_very_long_name_' * 8 + '.jpg')
    file.write_bytes(picture())
    page.set_window_size(500, 900)
    try:
        choose(page, file)
        done(page)
        widths = page.execute_script('return [document.documentElement.scrollWidth, innerWidth]')
        assert widths[0] <= widths[1], 'nothing sticks out'
        unnamed = page.execute_script(
            "return [...document.querySelectorAll('button, img, input')].filter((e) => e.checkVisibility() && !("
            "e.getAttribute('aria-label') || e.alt || e.textContent.trim() || e.labels?.length)).length"
        )
        assert unnamed == 0
    finally:
        page.set_window_size(1100, 900)


def test_a_full_server_is_asked_again(page, server, tmp_path):
    service = server[1].state.service
    file = tmp_path / 'patient.jpg'
    file.write_bytes(picture())
    kept, service.in_work = service.in_work, service.settings.max_queue
    choose(page, file)
    wait(page, lambda: 'busy' in text(page, '.details'))
    service.in_work = kept
    done(page)
    assert len(find(page, '.class')) == 4


def test_what_is_decided_is_shown(browser, tmp_path):
    config, checkpoint = make_digits(tmp_path)
    decide_checkpoint(config, checkpoint)
    predictor = Predictor(open_inferencer(config, checkpoint))
    Image.fromarray(digit_images(0, 1)[0][..., 0]).save(tmp_path / 'digit.png')
    content = (tmp_path / 'digit.png').read_bytes()
    _, answer = predictor.answer(predictor.predict([predictor.prepare(content)[1]])[0], 1)
    decision = answer['decision']
    with running(predictor, name='digits') as (url, _):
        browser.get(url)
        wait(browser, lambda: text(browser, '#model') == 'digits')
        assert 'Scores are calibrated (temperature' in text(browser, '#notice')
        choose(browser, tmp_path / 'digit.png')
        done(browser)
        shown = text(browser, '.card .details')
        assert f'decided: {decision["class"]}; set: {", ".join(decision["conformal_set"])}' in shown
