// What mdBook's pages lack for people without a mouse: the button of the table of contents is one, and code
// that is wider than the page can be scrolled with the keyboard.
(() => {
    const toggle = document.getElementById("mdbook-sidebar-toggle");
    if (toggle) {
        toggle.setAttribute("role", "button");
        toggle.tabIndex = 0;
        toggle.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                toggle.click();
            }
        });
    }
    const focus = () => {
        for (const code of document.querySelectorAll("pre > code, .table-wrapper")) {
            if (code.scrollWidth > code.clientWidth) {
                code.tabIndex = 0;
            } else {
                code.removeAttribute("tabindex");
            }
        }
    };
    window.addEventListener("load", focus);
    window.addEventListener("resize", focus);
})();
