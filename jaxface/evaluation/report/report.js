"use strict";
// The threshold read-out of each list: slider, table, and a mark on every chart that shows the threshold or rates at it.
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // Quantile of the normal distribution (P. J. Acklam's rational approximation, relative error below 1.2e-9).
  function probit(p) {
    p = Math.min(1 - 1e-9, Math.max(1e-9, p));
    const a = [-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239];
    const b = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1];
    const c = [-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
    const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1];
    const sum = (terms, x) => terms.reduce((total, term) => total * x + term, 0);
    if (p < 0.02425) { const q = Math.sqrt(-2 * Math.log(p)); return sum(c, q) / sum(d, q); }
    if (p > 1 - 0.02425) return -probit(1 - p);
    const q = p - 0.5;
    return sum(a, q * q) * q / sum(b, q * q);
  }

  const SCALES = { linear: (value) => value, log: (value) => Math.log10(Math.max(value, 1e-300)), probit };

  function percent(count, total) {
    return (100 * count / total).toFixed(Math.max(2, Math.ceil(Math.log10(total) - 1e-9) - 2));
  }

  function falling(total, fewer) {
    return fewer.map((less) => (total -= less));
  }

  // A chart: maps what it shows at a threshold to places in the drawing.
  function chartOf(svg, list) {
    const numbers = (name) => svg.dataset[name].split(" ").map(Number);
    const [left, right, top, bottom] = numbers("frame");
    const [xLow, xHigh, yLow, yHigh] = numbers("limits");
    const [xScale, yScale] = svg.dataset.scale.split(" ").map((name) => SCALES[name]);
    const [x, y] = svg.dataset.link.split(" ");
    const along = (scale, value, low, high, from, to) => {
      const share = (scale(value) - scale(low)) / (scale(high) - scale(low));
      return from + Math.min(1, Math.max(0, share)) * (to - from);
    };
    const place = (model, at) => [
      along(xScale, x === "threshold" ? list.threshold(at) : model[x][at], xLow, xHigh, left, right),
      y ? along(yScale, model[y][at], yLow, yHigh, bottom, top) : top,
    ];
    const models = y ? list.models : list.models.slice(0, 1);
    const marks = models.map((model, number) => {
      const mark = document.createElementNS(SVG, y ? "circle" : "line");
      mark.setAttribute("class", `cursor m${number % 8}`);
      if (y) mark.setAttribute("r", 4);
      svg.append(mark);
      return mark;
    });
    svg.classList.add("live");
    return {
      show(at) {
        marks.forEach((mark, number) => {
          const [px, py] = place(models[number], at);
          const where = y ? { cx: px, cy: py } : { x1: px, x2: px, y1: top, y2: bottom };
          for (const [name, value] of Object.entries(where)) mark.setAttribute(name, value.toFixed(2));
        });
      },
      // The threshold whose mark is nearest to the pointer.
      nearest(event) {
        const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
        const px = (event.clientX - box.left) / box.width * view.width, py = (event.clientY - box.top) / box.height * view.height;
        let best = 0, least = Infinity;
        for (const model of models) {
          for (let at = 0; at < list.count; at++) {
            const [mx, my] = place(model, at);
            const distance = (mx - px) ** 2 + (y ? (my - py) ** 2 : 0);
            if (distance < least) { least = distance; best = at; }
          }
        }
        return best;
      },
    };
  }

  for (const group of document.querySelectorAll(".list")) {
    const source = group.querySelector("script[type='application/json']");
    if (!source) continue;
    const data = JSON.parse(source.textContent);
    const models = data.models.map(({ nonmated, mated, false: fewer, true: fewerTrue }) => {
      const accepted = falling(nonmated, fewer), found = falling(mated, fewerTrue);
      return {
        nonmated, mated, accepted, found, far: accepted.map((count) => count / nonmated), tar: found.map((count) => count / mated),
        frr: found.map((count) => (mated - count) / mated),
      };
    });
    const slider = group.querySelector("input[type='range']"), output = group.querySelector("output");
    const rows = group.querySelectorAll(".readout tbody tr");
    const digits = (slider.step.split(".")[1] || "").length;
    const list = { models, count: models[0].far.length, threshold: (at) => data.low + at * data.step };
    const charts = [...group.querySelectorAll("svg[data-link]")].map((svg) => ({ svg, ...chartOf(svg, list) }));

    function show(at) {
      const threshold = list.threshold(at).toFixed(digits);
      output.textContent = threshold.replace("-", "−");
      slider.value = threshold;
      models.forEach(({ nonmated, mated, accepted, found }, number) => {
        const fa = accepted[at], ta = found[at], comma = (count) => count.toLocaleString("en-US");
        const text = [
          percent(fa, nonmated), percent(ta, mated), percent(mated - ta, mated), comma(fa), comma(mated - ta),
          percent(ta + nonmated - fa, mated + nonmated),
        ];
        rows[number].querySelectorAll("td").forEach((cell, column) => { cell.textContent = text[column]; });
      });
      for (const chart of charts) chart.show(at);
    }

    slider.hidden = false;
    group.querySelector("[data-help]").hidden = false;
    slider.addEventListener("input", () => show(Math.round((Number(slider.value) - data.low) / data.step)));
    for (const chart of charts) {
      for (const name of ["pointermove", "pointerdown"]) chart.svg.addEventListener(name, (event) => show(chart.nearest(event)));
    }
    show(data.start);
  }

  // Folded parts are printed too.
  const folded = document.querySelectorAll("details:not([open])");
  addEventListener("beforeprint", () => folded.forEach((part) => { part.open = true; }));
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
})();
