// Starts the page. The only module with effects at import.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { queries } from "./frame/client";
import { watchSession } from "./frame/session";
import { watchTheme } from "./frame/theme";
import { speak } from "./language/t";
import { keepOnLeaving } from "./playground/store";
import "./styles.css";

document.documentElement.lang = speak(navigator.languages);
watchTheme();
watchSession(queries);
keepOnLeaving();

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
