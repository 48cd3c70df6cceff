// The API key of this tab. It comes from the fragment of a sign-in link or from the dialog, and lives in the
// session storage of the tab: another tab, or this one after it was closed, does not have it.

const NAME = "facemend-key";

export const session = new EventTarget(); // "signed-in", "signed-out"
export const key = () => sessionStorage.getItem(NAME) ?? "";

// Take the token out of the address, so that neither history nor a copied address has it.
export function takeFragment() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return false;
  sessionStorage.setItem(NAME, token);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

export function remember(text) {
  sessionStorage.setItem(NAME, text.trim());
}

export function forget() {
  sessionStorage.removeItem(NAME);
}
