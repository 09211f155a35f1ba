// The page: one model at a time, one answer at a time, all of it in a worker. A file for each
// panel; what they share is in state.js.
import { $, showError } from './dom.js';
import { startInside } from './inside.js';
import { resume, startLoading } from './load.js';
import { startOffline } from './offline.js';
import { startPicker } from './picker.js';
import { startSampling } from './sampling.js';
import { app, onChange } from './state.js';
import { startTalk } from './talk.js';

/** On narrow screens the model's panel lies over the conversation while it is wanted. */
function startPanel() {
  const toggle = $('panel');
  const show = (/** @type {boolean} */ open) => {
    document.body.classList.toggle('panel-open', open);
    toggle.setAttribute('aria-expanded', String(open));
  };
  toggle.addEventListener('click', () => show(toggle.getAttribute('aria-expanded') !== 'true'));
  $('choose').addEventListener('click', () => {
    show(true);
    $('known').open = true;
    $('url').focus();
  });
  let busy = false;
  onChange(() => {
    if (app.loading && !busy) show(false); // the conversation is what one waits for
    busy = Boolean(app.loading);
  });
}

$('error-close').addEventListener('click', () => {
  showError(null);
  $('prompt').focus();
});
startSampling();
startLoading();
startInside();
startTalk();
startPicker();
startPanel();
startOffline();
document.body.inert = false; // until now nothing would have answered a click
resume();
