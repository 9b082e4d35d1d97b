// Keeps parts of a page fresh: `data-refresh` has the address of a part's content, `data-seconds` how long it is good.

const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

const visible = () =>
  new Promise((done) => {
    if (!document.hidden) return done();
    document.addEventListener("visibilitychange", () => visible().then(done), { once: true });
  });

// A button must not move away from under somebody's finger.
const isInUse = (part) => part.querySelector("form:hover, form:focus-within") !== null;

async function keepFresh(part) {
  for (;;) {
    await wait(Number(part.dataset.seconds));
    await visible();
    if (isInUse(part)) continue;
    try {
      const answer = await fetch(part.dataset.refresh, { redirect: "manual" });
      // Signed out meanwhile: the page itself leads to where one signs in.
      if (answer.type === "opaqueredirect") return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const content = await answer.text();
      if (!isInUse(part)) part.innerHTML = content;
      part.removeAttribute("data-stale");
    } catch {
      part.setAttribute("data-stale", "");
    }
  }
}

document.querySelectorAll("[data-refresh]").forEach(keepFresh);
