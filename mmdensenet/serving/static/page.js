// The page of tools/serve.py. Names of files and classes only ever become text, never markup.
'use strict';

const AT_ONCE = 4; // requests of this page at a time
const TRIES = 8; // of a request that a full server refuses
const server = new URL('..', document.currentScript.src); // behind a proxy below a prefix
const byId = (id) => document.getElementById(id);
const waiting = [];
let running = 0;
let about = null;

async function start() {
  byId('curl').textContent = `curl --data-binary @FILE ${new URL('predict', server)}`;
  try {
    about = await (await fetch(new URL('model', server))).json();
  } catch {
    notice('The server does not answer. Is it still running?');
    return;
  }
  document.title = `${about.name}, mmdensenet`;
  byId('model').textContent = about.name;
  const classes = about.classes ? `${about.classes} classes · ` : '';
  byId('facts').textContent = `${classes}mmdensenet ${about.version}`;
  const pixels = Number((about.max_pixels / 1e6).toPrecision(2));
  byId('limits').textContent = `${about.formats.join(', ')}; at most ${bytes(about.max_bytes)} and ${pixels} megapixels`;
  const notes = [...(about.decisions ?? []), ...(about.cam ? [] : [about.no_cam])];
  if (notes.length) notice(notes.join(' '));
  next();
}

function notice(text) {
  byId('notice').textContent = text;
  byId('notice').hidden = false;
}

// what people do -----------------------------------------------------------------------------------------------------

byId('file').addEventListener('change', (event) => {
  add(event.target.files);
  event.target.value = ''; // so that the same file can be chosen again
});

document.addEventListener('paste', (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});

let depth = 0; // enter and leave come for every element on the way
document.addEventListener('dragenter', () => document.body.classList.toggle('dragging', ++depth > 0));
document.addEventListener('dragleave', () => document.body.classList.toggle('dragging', --depth > 0));
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove('dragging');
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
  else say('Only files can be dropped here.');
});

byId('clear').addEventListener('click', () => {
  for (const card of [...byId('results').children]) card.remover();
  byId('file').focus();
});

// cards --------------------------------------------------------------------------------------------------------------

function add(files) {
  const first = byId('results').firstChild; // the newest are on top, in their own order
  for (const file of files) {
    const card = byId('card').content.firstElementChild.cloneNode(true);
    const name = file.name || 'pasted image';
    const abort = new AbortController();
    const url = URL.createObjectURL(file);
    card.querySelector('h3').textContent = name;
    card.querySelector('.remove').setAttribute('aria-label', `Remove ${name}`);
    card.remover = () => {
      abort.abort();
      URL.revokeObjectURL(url);
      card.remove();
      update();
    };
    card.querySelector('.remove').addEventListener('click', () => {
      const neighbour = card.nextElementSibling || card.previousElementSibling;
      card.remover();
      (neighbour ? neighbour.querySelector('.remove') : byId('file')).focus();
    });
    const image = card.querySelector('img');
    image.alt = name;
    image.addEventListener('load', () => image.classList.toggle('small', image.naturalWidth < 96));
    image.addEventListener('error', () => {
      if (!image.src.startsWith('blob:')) return;
      image.hidden = true; // a format that the server reads and the browser does not
      image.parentElement.append('no preview');
    });
    image.src = url;
    byId('results').insertBefore(card, first);
    waiting.push({ file, name, card, signal: abort.signal });
  }
  update();
  next();
}

function update() {
  const any = byId('results').children.length > 0;
  byId('clear').hidden = byId('results').children.length < 2;
  byId('empty').hidden = any;
  byId('hint').hidden = !any || !about?.cam;
}

function next() {
  while (about && running < AT_ONCE && waiting.length) {
    running += 1;
    const job = waiting.shift();
    work(job).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function work(job) {
  try {
    if (job.signal.aborted) return;
    if (job.file.size > about.max_bytes) {
      throw new Error(`The file has ${bytes(job.file.size)}; the limit is ${bytes(about.max_bytes)}.`);
    }
    const begin = performance.now();
    const answer = await ask(job, 'predict');
    show(job, answer, performance.now() - begin);
    if (about.cam) await explain(job, answer.predictions[0].label);
  } catch (error) {
    if (!job.signal.aborted) fail(job, error.message);
  } finally {
    job.card.setAttribute('aria-busy', 'false');
  }
}

async function ask(job, path) {
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(new URL(path, server), { method: 'POST', body: job.file, signal: job.signal });
    } catch (error) {
      if (job.signal.aborted) throw error;
      throw new Error('The server does not answer. Is it still running?');
    }
    if (response.status === 503 && attempt < TRIES) {
      if (!job.answered) details(job, 'The server is busy; this image waits.');
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get('retry-after') || 1)));
      continue;
    }
    let answer = null;
    try {
      answer = await response.json();
    } catch {
      throw new Error(`The server answered with status ${response.status}.`);
    }
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }
}

function show(job, answer, milliseconds) {
  job.answered = true;
  const size = `${answer.width} × ${answer.height} pixels, ${milliseconds.toFixed(0)} ms`;
  details(job, [size, ...(answer.decision ? [inWords(answer.decision)] : [])].join(' · '));
  const list = job.card.querySelector('.classes');
  list.replaceChildren(
    ...answer.predictions.map((entry) => {
      const row = document.createElement(about.cam ? 'button' : 'div');
      row.className = 'class';
      row.dataset.label = entry.label;
      if (about.cam) {
        row.type = 'button';
        row.title = 'Show the evidence for this class';
        row.setAttribute('aria-pressed', 'false');
        row.addEventListener('click', () => explain(job, entry.label).catch((error) => fail(job, error.message)));
      }
      const fill = part('fill', '');
      fill.style.width = `${(100 * entry.score).toFixed(2)}%`;
      row.append(fill, part('name', nameOf(entry)), part('score', percent(entry.score)));
      const item = document.createElement('li');
      item.append(row);
      return item;
    }),
  );
  const best = answer.predictions[0];
  say(`${job.name}: ${nameOf(best)}, ${percent(best.score)}`);
}

// the map of where the evidence for a class is
async function explain(job, label) {
  if (job.shown === label) return;
  job.shown = label;
  let cam;
  try {
    ({ cam } = await ask(job, `predict?cam=${label}`));
  } catch (error) {
    job.shown = null; // it may be tried again
    throw error;
  }
  if (job.shown !== label) return; // another class has been asked for meanwhile
  for (const row of job.card.querySelectorAll('.class')) {
    row.setAttribute('aria-pressed', String(Number(row.dataset.label) === label));
  }
  const image = job.card.querySelector('img');
  const caption = job.card.querySelector('figcaption');
  const views = job.card.querySelector('.views');
  const view = (kind) => {
    image.hidden = false;
    image.nextSibling?.remove();
    image.src = cam[kind];
    image.alt = kind === 'input' ? `${job.name} as the model sees it` : `Evidence for ${nameOf(cam)} in ${job.name}`;
    caption.textContent = kind === 'input' ? 'as the model sees it' : `evidence for ${nameOf(cam)}`;
    for (const button of views.children) button.setAttribute('aria-pressed', String(button.dataset.view === kind));
  };
  for (const button of views.children) button.onclick = () => view(button.dataset.view);
  views.hidden = false;
  view('overlay');
}

function fail(job, message) {
  job.card.classList.add('failed');
  details(job, message);
  say(`${job.name}: ${message}`);
}

// small things -------------------------------------------------------------------------------------------------------

function part(className, text) {
  const element = document.createElement('span');
  element.className = className;
  element.textContent = text;
  return element;
}

function details(job, text) {
  job.card.querySelector('.details').textContent = text;
}

function say(text) {
  byId('status').textContent = text;
}

// what is decided from the scores: the label, the classes that cannot be ruled out, whether the image is unlike others
function inWords(decision) {
  const join = (names) => names.join(', ') || 'none';
  const parts = [`decided: ${join([decision.class ?? decision.label].flat())}`];
  if (decision.conformal_set) parts.push(`set: ${join(decision.conformal_set)}`);
  if (decision.ood) parts.push('unlike the validation images');
  return parts.join('; ');
}

const nameOf = (entry) => entry.class ?? `class ${entry.label}`;
const percent = (score) => `${(100 * score).toFixed(1)} %`;
const bytes = (count) => (count < 1e6 ? `${(count / 1024).toFixed(0)} kB` : `${(count / 2 ** 20).toFixed(1)} MiB`);

start();
