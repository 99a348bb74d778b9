const least = 60; // seconds that the width stands for

// plot draws a line of values of the last seconds, the newest at the right, and what is
// below it.
export function plot(svg, values) {
  const [width, height] = [150, 30];
  const seconds = Math.max(least, values.length);
  const top = Math.max(1, ...values);
  const point = (v, i) => `${(((seconds - values.length + i + 1) / seconds) * width).toFixed(1)} ${(height - 1 - (v / top) * (height - 3)).toFixed(1)}`;
  const line = values.map((v, i) => (i ? "L" : "M") + point(v, i)).join("");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = (cls, d) => {
    const p = svg.querySelector("." + cls) ?? svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    p.setAttribute("class", cls);
    p.setAttribute("d", d);
  };
  if (!values.length) return;
  const begin = (((seconds - values.length + 1) / seconds) * width).toFixed(1);
  path("area", `${line}L${width} ${height}L${begin} ${height}Z`);
  path("line", line);
}

// mean returns the mean of the last values.
export function mean(values, n = 5) {
  const last = values.slice(-n);
  return last.reduce((a, b) => a + b, 0) / Math.max(1, last.length);
}

// figure writes a number of things a second as people read it.
export function figure(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(1) + " M";
  if (n >= 10000) return (n / 1000).toFixed(1) + " k";
  return n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toFixed(1);
}
