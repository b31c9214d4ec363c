// What the theme makes in the browser, for screen readers and for the keyboard.
const adjust = () => {
  // Each button that copies code is in a <nav> without a name, one more place to go to in their list.
  document.querySelectorAll("nav.md-code__nav:not([role])").forEach((nav) => nav.setAttribute("role", "none"));
  // A table that is wider than the window scrolls, which takes the focus of the keyboard.
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((wrap) => {
    wrap.tabIndex = wrap.scrollWidth > wrap.clientWidth ? 0 : -1;
  });
};
new MutationObserver(adjust).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", adjust);
