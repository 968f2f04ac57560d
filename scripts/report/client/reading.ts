/**
 * Where the reader is: the contents mark it, and a link to what is folded unfolds it.
 *
 * @module
 */
/// <reference lib="dom" />

/** What a link leads to stands at the padding of the page; so many pixels further down it is what is read. */
const BELOW_TARGET = 16;

/** Unfolds what the address points to, and what that stands in. */
export function unfoldTarget(): void {
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target === null) return;
    const own = target.querySelector<HTMLDetailsElement>(":scope > details");
    if (own !== null) own.open = true;
    for (let fold = target.closest("details"); fold !== null; fold = fold.parentElement?.closest("details") ?? null) {
      fold.open = true;
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  document.addEventListener("click", ({ target }) => {
    const link = (target as Element).closest?.("a[href^='#']");
    if (link?.getAttribute("href") === location.hash) unfold(); // the address does not change: no other event comes
  });
  unfold();
}

/** Marks in the contents which section and which experiment is being read. */
export function followReader(): void {
  const links = [...document.querySelectorAll<HTMLAnchorElement>(".contents a")];
  const places = links.flatMap((link) => {
    const place = document.getElementById(link.hash.slice(1));
    return place === null ? [] : [{ link, place }];
  });
  const contents = document.querySelector<HTMLElement>(".contents")!;
  let marked: HTMLAnchorElement | null = null;
  const mark = () => {
    const line = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) + BELOW_TARGET;
    const holds = ({ place }: { place: HTMLElement }) => {
      const { top, bottom } = place.getBoundingClientRect();
      return top <= line && bottom > line;
    };
    const current = places.filter(holds).map(({ link }) => link);
    const last = current.at(-1);
    if (last === undefined || last === marked) return;
    for (const link of links) link.removeAttribute("aria-current");
    for (const link of current) link.setAttribute("aria-current", "location");
    marked = last;
    // Not scrollIntoView: that would end a scroll of the page that is under way.
    contents.scrollTop = last.offsetTop - contents.clientHeight / 2;
    contents.scrollLeft = last.offsetLeft - contents.clientWidth / 2;
  };
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      mark();
    });
  };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  mark();
}
