/*
 * Put the page together: its two views, the language, keywords, the server's status.
 */

import { introduceDemo } from './demo.js';
import { FileView } from './files.js';
import { introduceLanguages } from './interface-text.js';
import { KeywordField } from './keywords.js';
import { LanguagePicker } from './languages.js';
import { LiveView } from './live.js';
import { watchStatus } from './status.js';
import { arrangeCaptions } from './view.js';

const tabs = [...document.querySelectorAll('[role=tab]')];

function select(tab, { focus = false } = {}) {
  for (const own of tabs) {
    const chosen = own === tab;
    own.setAttribute('aria-selected', String(chosen));
    own.tabIndex = chosen ? 0 : -1;
    document.getElementById(own.getAttribute('aria-controls')).hidden = !chosen;
  }
  if (focus) tab.focus();
}

for (const tab of tabs) {
  tab.addEventListener('click', () => select(tab));
  tab.addEventListener('keydown', ({ key }) => {
    const others = tabs.filter((own) => own !== tab);
    if (['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'].includes(key)) select(others[0], { focus: true });
  });
}

// Everything below says something, so it needs the text of the page.
await introduceLanguages();

const live = new LiveView();
const file = new FileView({ onFile: () => select(document.getElementById('tab-file')) });
const picker = new LanguagePicker((language) => setLanguage(language));

function setLanguage(language) {
  live.setLanguage(language);
  file.setLanguage(language);
}

const field = new KeywordField((keywords) => setKeywords(keywords));

function setKeywords(keywords) {
  live.setKeywords(keywords);
  file.setKeywords(keywords);
}

setLanguage(picker.language);
setKeywords(field.keywords);
arrangeCaptions();
introduceDemo((sample) => {
  select(document.getElementById('tab-file'));
  file.open(sample);
});
watchStatus();
