// Whether the page can be used without a mouse: its faults, as sentences.
(() => {
    const faults = [];
    const toggle = document.getElementById("mdbook-sidebar-toggle");
    const state = document.getElementById("mdbook-sidebar-toggle-anchor");
    toggle?.focus();
    if (!toggle || document.activeElement !== toggle) {
        faults.push("the button of the table of contents cannot be reached with the keyboard");
    } else {
        for (const key of ["Enter", " "]) {
            const before = state?.checked;
            toggle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            if (state?.checked === before) faults.push(`the table of contents does not answer to ${JSON.stringify(key)}`);
        }
    }
    const wide = [...document.querySelectorAll("pre > code")].filter(
        (code) => code.scrollWidth > code.clientWidth && code.tabIndex !== 0,
    );
    if (wide.length) faults.push(`${wide.length} piece(s) of code cannot be scrolled with the keyboard`);
    return faults;
})()
