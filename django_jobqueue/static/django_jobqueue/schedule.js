/* The next runs follow what is typed, and are shown on the viewer's clocks. Without JavaScript a button does the same. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
    const preview = document.getElementById("jq-preview");
    if (!preview) {
        return;
    }
    const form = preview.closest("form");
    const fields = ["kind", "expression", "timezone", "starts_at", "ends_at", "task"];
    let asked = new AbortController();
    let timer = 0;
    const ask = async () => {
        const address = new URL((form || preview).dataset.previewUrl, location.href);
        address.searchParams.set("viewer", Intl.DateTimeFormat().resolvedOptions().timeZone || "");
        if (form) {
            fields.forEach((name) => address.searchParams.set(name, form.elements[name].value));
        }
        asked.abort();
        asked = new AbortController();
        try {
            const response = await fetch(address, { signal: asked.signal });
            if (response.ok && !response.redirected) {
                preview.innerHTML = await response.text();
            }
        } catch (error) {
            if (error.name !== "AbortError") {
                throw error;
            }
        }
    };
    const follow = () => {
        form.dataset.kind = form.elements.kind.value;
        clearTimeout(timer);
        timer = setTimeout(ask, 250);
    };
    if (!form) {
        ask();
        return;
    }
    form.addEventListener("input", (event) => {
        if (fields.includes(event.target.name)) {
            follow();
        }
    });
    follow();
});
