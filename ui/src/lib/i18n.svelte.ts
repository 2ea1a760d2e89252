import { en, zh, type Words } from './words';

export type Language = 'auto' | 'en' | 'zh';

class I18n {
  language: Language = $state('auto');
  resolved: 'en' | 'zh' = $derived(
    this.language === 'auto' ? (navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en') : this.language,
  );
  w: Words = $derived(this.resolved === 'zh' ? zh : en);
  /** For dates: English ones with the day first and a 24-hour clock. */
  locale: string = $derived(this.resolved === 'zh' ? 'zh-CN' : 'en-GB');
}

export const i18n = new I18n();
