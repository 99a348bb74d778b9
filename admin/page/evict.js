import { ask } from "./world.js";

const kept = "foyer-token";

// An Evictor asks whether to evict a room, and does.
export class Evictor {
  #dialog;
  #name = "";

  constructor(dialog) {
    this.#dialog = dialog;
    dialog.querySelector("#evict-cancel").addEventListener("click", () => dialog.close());
    dialog.querySelector("form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.#evict();
    });
  }

  open(name) {
    this.#name = name;
    this.#dialog.querySelector("h2").textContent = `Evict ${name}?`;
    this.#say("");
    const token = sessionStorage.getItem(kept);
    this.#dialog.querySelector("#token").value = token ?? "";
    this.#dialog.querySelector("#keep-token").checked = token !== null;
    this.#dialog.querySelector("input[name=hold]").checked = true;
    this.#dialog.showModal();
  }

  async #evict() {
    const token = this.#dialog.querySelector("#token").value.trim();
    const hold = this.#dialog.querySelector("input[name=hold]:checked").value;
    const button = this.#dialog.querySelector("#evict-do");
    button.disabled = true;
    try {
      await ask(`/v1/rooms/${encodeURIComponent(this.#name)}${hold && "?for=" + hold}`, {
        method: "DELETE",
        headers: token ? { Authorization: "Bearer " + token } : {},
      });
      if (this.#dialog.querySelector("#keep-token").checked) sessionStorage.setItem(kept, token);
      else sessionStorage.removeItem(kept);
      this.#dialog.close();
    } catch (error) {
      this.#say(error.message);
    } finally {
      button.disabled = false;
    }
  }

  #say(text) {
    this.#dialog.querySelector(".problem").textContent = text;
  }
}
