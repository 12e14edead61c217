// A dialog with the camera's picture and a button that takes it.

import { el } from "../base/dom.js";
import { t } from "../base/words.js";

/** @param {Actions} actions */
export async function openCamera(actions) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    actions.fail(t("camera.none")); // Refused, missing, or a page without https: the answer is the same.
    return;
  }
  const video = el("video", { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  const capture = el(
    "button",
    { type: "button", class: "primary", onclick: take },
    t("action.capture"),
  );
  const cancel = el(
    "button",
    { type: "button", onclick: () => dialog.close() },
    t("action.cancel"),
  );
  const dialog = el(
    "dialog",
    { class: "camera", "aria-label": t("camera.title"), onclose: end },
    video,
    el("div", { class: "picture-actions" }, capture, cancel),
  );
  document.querySelector(".vx").append(dialog);
  dialog.showModal();

  function end() {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  }

  async function take() {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    dialog.close();
    actions.explainFile(new File([blob], "photo.png"));
  }
}
