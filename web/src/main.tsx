// Starts the page. The only module with effects at import.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { queries } from "./frame/client";
import { watchFreshness } from "./frame/fresh";
import { watchSession } from "./frame/session";
import { watchTheme } from "./frame/theme";
import { startLanguage } from "./language/t";
import "./styles.css";

watchTheme();
watchFreshness();
watchSession(queries);

const root = document.getElementById("root");
const start = () => {
  if (root === null) return;
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
};
// English stands in for a language whose words cannot be had.
startLanguage().then(start, start);
