// 1. Each chosen photo gets a card and is uploaded; the answer, 202, has the address of its job.
// 2. The card follows the job: the server answers as soon as the job is done, so nothing is polled.
// 3. The thumbnails take the place of the preview, or the card says what went wrong.

const MAX_UPLOAD = 20 * 1024 * 1024;
const AT_ONCE = 4; // A browser opens six connections to a server: leave some for the thumbnails.
const FINAL = ["succeeded", "dead", "cancelled"];
const REASONS = {
  NotAPhoto: "This file is not a photo that we can read.",
  Cancelled: "Somebody cancelled this photo.",
};

const drop = document.querySelector("#drop");
const input = drop.querySelector("input");
const waiting = [];
let busy = 0;

input.addEventListener("change", () => { add(input.files); input.value = ""; });
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});

function add(files) {
  for (const file of files) waiting.push([file, newCard(file)]);
  while (busy < AT_ONCE && waiting.length) work();
}

async function work() {
  busy += 1;
  while (waiting.length) {
    const [file, card] = waiting.shift();
    try {
      await show(card, file, await follow(await send(file, card)));
    } catch (problem) {
      finish(card, "failed", file, problem.message);
    }
  }
  busy -= 1;
}

async function send(file, card) {
  if (file.size > MAX_UPLOAD) throw new Error("This photo is larger than 20 MB.");
  const body = new FormData();
  body.append("photo", file);
  for (;;) {
    say(card, "uploading…");
    const response = await fetch("/avatar", { method: "POST", body }).catch(() => {
      throw new Error("The upload did not get through. Are you online?");
    });
    const answer = await response.json();
    if (response.status === 503) {
      const seconds = Number(response.headers.get("Retry-After")) || 5;
      say(card, `Many photos are waiting; trying again in ${seconds} s…`);
      await sleep(seconds);
    } else if (!response.ok) {
      throw new Error(answer.error);
    } else {
      say(card, "processing…");
      return answer.status;
    }
  }
}

async function follow(address) {
  for (let pause = 1; ; pause = Math.min(2 * pause, 15)) {
    const response = await fetch(`${address}?wait=20`).catch(() => null);
    if (response?.ok) {
      const job = await response.json();
      if (FINAL.includes(job.state)) return job;
      pause = 0.5;
    } else if (response && response.status < 500) {
      throw new Error((await response.json()).error);
    }
    await sleep(pause);
  }
}

async function show(card, file, job) {
  if (job.state !== "succeeded") {
    throw new Error(REASONS[job.error] ?? "The thumbnails could not be made. We keep the photo and look into it.");
  }
  const links = await Promise.all(job.thumbnails.map(async ({ size, url }) => {
    const image = new Image();
    image.src = url;
    image.alt = `${file.name}, ${size} by ${size} pixels`;
    await image.decode();
    const link = document.createElement("a");
    link.href = url;
    link.append(image);
    return link;
  }));
  card.querySelector(".frame").replaceChildren(links.pop());
  card.querySelector(".small").replaceChildren(...links);
  const tries = job.attempt > 1 ? `, at the ${job.attempt === 2 ? "second" : `${job.attempt}th`} attempt` : "";
  finish(card, "done", file, `64, 128 and 512 pixels${tries}`);
}

function newCard(file) {
  const card = document.querySelector("#card").content.firstElementChild.cloneNode(true);
  const preview = card.querySelector(".preview");
  preview.src = URL.createObjectURL(file);
  preview.onload = () => URL.revokeObjectURL(preview.src);
  preview.onerror = () => preview.remove();
  card.querySelector("h2").textContent = file.name;
  say(card, "waiting…");
  document.querySelector("#photos").prepend(card);
  return card;
}

function finish(card, state, file, text) {
  card.classList.add(state);
  say(card, text);
  document.querySelector("#news").textContent = `${file.name}: ${text}`;
}

function say(card, text) {
  card.querySelector(".state").textContent = text;
}

function sleep(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}
