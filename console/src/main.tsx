import { render } from "preact";
import { App } from "./screens/app";
import { apply } from "./parts/theme";
import "./style/base.css";
import "./style/frame.css";
import "./style/run.css";

apply();
const root = document.getElementById("app");
if (root) render(<App />, root);
