// The dialog that asks for a key, and the button in the header.

import { Problem, call, contact } from "./api.js";
import { $ } from "./dom.js";
import { changed, t } from "./language.js";
import { forget, key, remember, session, takeFragment } from "./session.js";
import { explain } from "./problems.js";

export let account = null; // the answer of /v1/usage, or null
let asked = false;

export async function prepareSignIn() {
  $("account").addEventListener("click", () => (account ? signOut() : ask()));
  $("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn($("key").value);
  });
  contact.addEventListener("refused", () => {
    if (account) {
      leave();
      ask("sign-in.ended");
    }
  });
  changed.addEventListener("change", render);
  takeFragment();
  if (key()) await enter();
  render();
}

// Open the dialog. `why` is the name of a text that says why the key is needed now.
export function ask(why = "sign-in.why") {
  if ($("sign-in").open) return;
  $("sign-in-why").textContent = t(why);
  $("key-error").textContent = "";
  $("key").value = "";
  $("key").removeAttribute("aria-invalid");
  $("sign-in").showModal();
}

async function signIn(text) {
  if (!text.trim()) return fail(t("sign-in.empty"));
  remember(text);
  return enter();
}

async function enter() {
  try {
    account = await call("GET", "/v1/usage");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code !== "unauthorized") return fail(explain(error).text); // the key stays: the service is away
    forget();
    if (!$("sign-in").open) ask("sign-in.ended");
    return fail(t("sign-in.wrong"));
  }
  $("sign-in").close();
  render();
  session.dispatchEvent(new Event("signed-in"));
  return undefined;
}

// Called when the service is back: a key that could not be checked before is checked now.
export async function checkAgain() {
  if (!account && key() && !asked) {
    asked = true;
    await enter();
    asked = false;
  }
}

function fail(text) {
  $("key-error").textContent = text;
  $("key").setAttribute("aria-invalid", "true");
  $("key").focus();
}

function leave() {
  forget();
  account = null;
  render();
}

function signOut() {
  const was = account;
  leave();
  session.dispatchEvent(new CustomEvent("signed-out", { detail: was }));
}

function render() {
  $("account").textContent = account ? t("account.sign-out") : t("account.sign-in");
  $("account-name").textContent = account ? account.tenant : "";
}
