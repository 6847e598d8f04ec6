/* Ask before what can't be undone. Without JavaScript the forms work as they are. */
"use strict";
document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const question = button && button.dataset.confirm;
    if (question && !window.confirm(question)) {
        event.preventDefault();
    }
});
/* A click that is on its way is not sent twice. */
document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented && event.submitter && event.target.closest(".jq-page")) {
        const button = event.submitter;
        setTimeout(() => { button.disabled = true; }, 0);
    }
});
