// The page that draws: a classic dashboard JSON, its data from Prometheus, its panels by @grafana/ui.
import './page.css';
import { Component } from 'react';
import { createRoot } from 'react-dom/client';
import { firstValueFrom } from 'rxjs';
import * as data from '@grafana/data';
import * as ui from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

const D: any = data;
const U: any = ui;
const Table: any = TableNG;
const theme = D.createTheme({ colors: { mode: 'dark' } });
const asked = new URLSearchParams(location.search);
const from = Number(asked.get('from')) * 1000;
const to = Number(asked.get('to')) * 1000;
const scrape = Number(asked.get('scrape'));
const width = Number(asked.get('width'));
const range: any = { from: D.dateTime(from), to: D.dateTime(to), raw: { from: D.dateTime(from), to: D.dateTime(to) } };

// Grafana's grid: 24 columns, cells of 30 px, gaps of 8; below its breakpoint "md" one panel under the other.
const GAP = 8;
const EDGE = width < 769 ? 8 : 16;
const phone = width < 769;
const column = (width - 2 * EDGE + GAP) / 24;
const pixels = (cells: number) => cells * (30 + GAP) - GAP;

// What a panel's fieldConfig may hold: these registries belong to Grafana's core, not to its components.
const identity = D.identityOverrideProcessor;
const standard = {
  unit: D.unitOverrideProcessor, min: D.numberOverrideProcessor, max: D.numberOverrideProcessor, decimals: D.numberOverrideProcessor,
  displayName: D.displayNameOverrideProcessor, noValue: identity, links: identity, color: identity, thresholds: D.thresholdsOverrideProcessor,
  mappings: D.valueMappingsOverrideProcessor, fieldMinMax: identity,
};
const option = (id: string, process: any, isCustom: boolean) => ({ id: isCustom ? `custom.${id}` : id, path: id, name: id, process, isCustom,
  editor: () => null, override: () => null, settings: {}, shouldApply: () => true, getItemsCount: () => 1 });
D.standardFieldConfigEditorRegistry.setInit(() => Object.entries(standard).map(([id, process]) => option(id, process, false)));
const custom: Record<string, any> = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', barAlignment: 0, barWidthFactor: 0.6, lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
    lineStyle: { fill: 'solid' }, lineColor: undefined, fillColor: undefined, fillBelowTo: undefined, spanNulls: false, insertNulls: false,
    showPoints: 'auto', pointSize: 5, pointColor: undefined, pointSymbol: undefined, stacking: { mode: 'none', group: 'A' }, transform: undefined,
    axisPlacement: 'auto', axisLabel: '', axisWidth: undefined, axisColorMode: 'text', axisBorderShow: false, axisGridShow: undefined,
    axisCenteredZero: false, axisSoftMin: undefined, axisSoftMax: undefined, scaleDistribution: { type: 'linear' },
    hideFrom: { viz: false, legend: false, tooltip: false }, thresholdsStyle: { mode: 'off' },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, width: undefined, minWidth: undefined, inspect: false, filterable: false, wrapText: undefined,
    hideFrom: { viz: false, legend: false, tooltip: false } },
};
const reduce = { calcs: ['lastNotNull'], fields: '', values: false };
const options: Record<string, any> = {
  stat: { reduceOptions: reduce, colorMode: 'value', graphMode: 'area', justifyMode: 'auto', textMode: 'auto', orientation: 'auto', wideLayout: true, text: {} },
  bargauge: { reduceOptions: reduce, displayMode: 'gradient', orientation: 'auto', valueMode: 'color', namePlacement: 'auto', showUnfilled: true, maxVizHeight: 300, minVizHeight: 16, minVizWidth: 8, text: {} },
  timeseries: { legend: { displayMode: 'list', placement: 'bottom', calcs: [], showLegend: true } },
  table: { showHeader: true, cellHeight: 'sm' },
};
D.standardTransformersRegistry.setInit(() =>
  Object.values(D.standardTransformers).map((t: any) => ({ id: t.id, name: t.name, transformation: t, editor: () => null })));

/** Complete a panel as Grafana's core does when it loads one: a fault that shows here is a fault of the JSON. */
function complete(panel: any) {
  const p = structuredClone(panel);
  if (['bargauge', 'stat'].includes(p.type)) p.options = U.sharedSingleStatMigrationHandler(p);
  const config = { defaults: p.fieldConfig?.defaults ?? {}, overrides: p.fieldConfig?.overrides ?? [] };
  // Grafana 12 moved the switch that hides a table's column.
  for (const { properties } of config.overrides) for (const property of properties)
    if (property.id === 'custom.hidden') Object.assign(property, { id: 'custom.hideFrom', value: { viz: property.value } });
  const plugin = new D.PanelPlugin(() => null);
  plugin.useFieldConfig({
    standardOptions: { color: { defaultValue: { mode: p.type === 'timeseries' ? 'palette-classic' : 'thresholds' } } },
    useCustomConfig: (builder: any) => Object.entries(custom[p.type] ?? {}).forEach(([id, defaultValue]) =>
      builder.addCustomEditor({ ...option(id, identity, true), id, defaultValue })),
  });
  const r = D.getPanelOptionsWithDefaults({ plugin, currentOptions: { ...options[p.type], ...p.options }, currentFieldConfig: config, isAfterPluginChange: false });
  return { ...p, options: r.options, fieldConfig: r.fieldConfig, registry: plugin.fieldConfigRegistry };
}

/** Resolve a data source's reference as Grafana does; what stays a variable would ask nobody. */
function source(reference: any, variables: any[]): string {
  const uid = String(reference?.uid ?? '').replace(/\$\{(\w+)\}|\$(\w+)/g, (whole, a, b) =>
    variables.some((v) => v.type === 'datasource' && v.name === (a ?? b)) ? asked.get('datasource')! : whole);
  if (uid !== asked.get('datasource')) throw new Error(`the data source ${JSON.stringify(reference)} is unresolved`);
  return uid;
}

/** Fill in the variables, each at All, and Grafana's own. */
function fill(expr: string, variables: any[], step: number): string {
  const own: Record<string, string> = {
    __rate_interval: `${Math.max(step + scrape, 4 * scrape)}s`, __interval: `${step}s`, __range: `${Math.round((to - from) / 1000)}s` };
  return expr.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (whole, a, b) =>
    own[a ?? b] ?? variables.find((v) => v.name === (a ?? b))?.allValue ?? whole);
}

async function ask(expr: string, step: number, instant: boolean): Promise<any[]> {
  const align = (at: number) => Math.floor(at / 1000 / step) * step;
  const path = instant ? `query?time=${to / 1000}` : `query_range?start=${align(from)}&end=${align(to)}&step=${step}`;
  const reply = await (await fetch(`/api/v1/${path}&query=${encodeURIComponent(expr)}`)).json();
  if (reply.status !== 'success') throw new Error(`${reply.error} in ${expr}`);
  return reply.data.result.map((s: any) => ({ metric: s.metric, values: s.values ?? [s.value] }));
}
const number = (text: string) => (text.endsWith('Inf') ? (text.startsWith('-') ? -Infinity : Infinity) : parseFloat(text));
const called = (format: string | undefined, metric: any) => !format || format === '__auto'
  ? `${metric.__name__ ?? ''}{${Object.entries(metric).filter(([k]) => k !== '__name__').map(([k, v]) => `${k}="${v}"`).join(', ')}}`
  : format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');

function tableFrame(target: any, rows: any[], alone: boolean) {
  const labels = [...new Set(rows.flatMap((row) => Object.keys(row.metric)))].sort();
  const cells = rows.flatMap((row) => row.values.map(([at, value]: any) => ({ ...row.metric, at: at * 1000, value: number(value) })));
  return D.toDataFrame({ refId: target.refId, fields: [
    { name: 'Time', type: 'time', values: cells.map((c: any) => c.at) },
    ...labels.map((name) => ({ name, type: 'string', values: cells.map((c: any) => c[name] ?? '') })),
    { name: alone ? 'Value' : `Value #${target.refId}`, type: 'number', values: cells.map((c: any) => c.value) }] });
}
function seriesFrame(target: any, row: any, step: number) {
  const name = called(target.legendFormat, row.metric);
  return D.toDataFrame({ refId: target.refId, name, fields: [
    // Where two values are further apart than this, a gap is drawn.
    { name: 'Time', type: 'time', config: { interval: step * 1000 }, values: row.values.map((v: any) => v[0] * 1000) },
    { name: 'Value', type: 'number', labels: row.metric, config: { displayNameFromDS: name }, values: row.values.map((v: any) => number(v[1])) }] });
}

/** How far apart Grafana asks for values, in seconds: a value for each pixel, but no more than there are. */
function stepOf(panel: any, pixelsWide: number) {
  const least = panel.interval || `${scrape}s`;
  return Math.max(1, Math.round(D.rangeUtil.calculateInterval(range, Math.max(1, Math.round(panel.maxDataPoints ?? pixelsWide)), least).intervalMs / 1000));
}

async function load(panel: any, variables: any[], pixelsWide: number) {
  const frames: any[] = [];
  const step = stepOf(panel, pixelsWide);
  for (const target of panel.targets ?? []) {
    if (target.hide) continue;
    source(target.datasource ?? panel.datasource, variables);
    const rows = await ask(fill(target.expr, variables, step), step, Boolean(target.instant));
    if (target.format === 'table') { if (rows.length) frames.push(tableFrame(target, rows, panel.targets.length === 1)); }
    else frames.push(...rows.map((row) => seriesFrame(target, row, step)));
  }
  source(panel.datasource, variables);
  return panel.transformations?.length ? firstValueFrom(D.transformDataFrame(panel.transformations, frames)) as Promise<any[]> : frames;
}

/** Ask what happened, as Grafana's Prometheus annotations: values next to each other are one event that lasts. */
async function events(dashboard: any, variables: any[]) {
  const found: any[] = [];
  for (const annotation of dashboard.annotations?.list ?? []) {
    const expr = annotation.target?.expr ?? annotation.expr;
    if (!annotation.enable || !expr) continue; // what people or scripts tell Grafana itself has no query
    source(annotation.datasource, variables);
    const step = Math.max(scrape, D.rangeUtil.intervalToSeconds(annotation.target?.interval ?? annotation.step ?? '60s'));
    for (const row of await ask(fill(expr, variables, step), step, false)) {
      let last: any;
      for (const [at, value] of row.values) {
        if (!(number(value) > 0)) continue;
        if (last && at * 1000 <= last.until + step * 1000) last.until = at * 1000;
        else found.push((last = { at: at * 1000, until: at * 1000, colour: theme.visualization.getColorByName(annotation.iconColor) }));
      }
    }
  }
  return found;
}

/** Dashed lines with a mark below, and a shade for as long as it lasted: as Grafana's annotations. */
function drawEvents(u: any, happened: any[]) {
  const { ctx, bbox } = u;
  ctx.save();
  for (const { at, until, colour } of happened) {
    const [left, right] = [at, until].map((time) => Math.round(u.valToPos(Math.min(time, to), 'x', true)));
    if (right < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.setLineDash([5, 5]);
    for (const x of until > at ? [left, right] : [left]) {
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    }
    ctx.globalAlpha = 0.1;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
    ctx.beginPath();
    if (until > at) ctx.rect(left, bbox.top + bbox.height, right - left, 4);
    else { ctx.moveTo(left, bbox.top + bbox.height); ctx.lineTo(left - 4, bbox.top + bbox.height + 5); ctx.lineTo(left + 4, bbox.top + bbox.height + 5); }
    ctx.fill();
  }
  ctx.restore();
}

/** Cells of buckets over time. A plain drawing: Grafana's heatmap isn't among its components. */
function Heatmap({ frames, w, h }: any) {
  const bounds = frames.map((f: any) => ({ f, le: number(f.fields[1].labels?.le ?? f.name) })).sort((a: any, b: any) => a.le - b.le);
  const cells = bounds.map(({ f }: any, i: number) => {
    const below = i ? new Map(bounds[i - 1].f.fields[0].values.map((at: number, j: number) => [at, bounds[i - 1].f.fields[1].values[j]])) : new Map();
    return f.fields[0].values.map((at: number, j: number) => [at, Math.max(0, f.fields[1].values[j] - Number(below.get(at) ?? 0))]);
  });
  const most = Math.max(...cells.flat().map((c: any) => c[1]).filter(Number.isFinite), 1e-9);
  const step = frames[0].fields[0].config.interval;
  const [left, bottom] = [44, 20];
  const draw = (canvas: HTMLCanvasElement | null) => {
    const ctx = canvas?.getContext('2d');
    if (!ctx) return;
    const high = (h - bottom) / cells.length;
    const x = (at: number) => left + ((at - from) / (to - from)) * (w - left);
    ctx.clearRect(0, 0, w, h);
    ctx.font = '11px Inter'; ctx.textAlign = 'right';
    cells.forEach((row: any, i: number) => {
      const top = h - bottom - (i + 1) * high;
      for (const [at, value] of row) if (value > 0) {
        ctx.fillStyle = `hsl(${40 - 35 * Math.sqrt(value / most)} 90% 55% / ${0.12 + 0.88 * Math.sqrt(value / most)})`;
        ctx.fillRect(x(at - step), top, Math.ceil(x(at) - x(at - step)), Math.ceil(high) - 1);
      }
      ctx.fillStyle = theme.colors.text.secondary;
      if (i % Math.ceil(14 / high) === 0) ctx.fillText(bounds[i].le === Infinity ? '+Inf' : `${bounds[i].le} s`, left - 5, top + high / 2 + 4);
    });
    for (let at = Math.ceil(from / 900_000) * 900_000; at < to; at += 900_000) ctx.fillText(new Date(at).toISOString().slice(11, 16), x(at) + 14, h - 4);
  };
  return <canvas ref={draw} width={w} height={h} />;
}

const hooked = new WeakSet();
function Visual({ p, frames, happened, w, h }: any) {
  if (p.type === 'text') return <div style={{ padding: 4, whiteSpace: 'pre-wrap' }}>{p.options?.content}</div>;
  if (!frames.length) return <div style={{ padding: 8, opacity: 0.7 }}>No data</div>;
  const ready = D.applyFieldOverrides({ data: frames, fieldConfig: p.fieldConfig, theme, timeZone: 'browser', fieldConfigRegistry: p.registry, replaceVariables: (s: string) => s });
  D.cacheFieldDisplayNames(ready);
  if (p.type === 'heatmap') return <Heatmap frames={ready} w={w} h={h} />;
  if (p.type === 'timeseries')
    return <U.TimeSeries frames={ready} width={w} height={h} timeRange={range} timeZone="browser" legend={p.options.legend}>
      {(config: any) => {
        if (!hooked.has(config)) { hooked.add(config); config.addHook('draw', (u: any) => drawEvents(u, happened)); }
        return null;
      }}
    </U.TimeSeries>;
  if (p.type === 'table')
    return <Table data={ready[0]} width={w} height={h} noHeader={!p.options.showHeader} cellHeight={p.options.cellHeight} sortBy={p.options.sortBy ?? []}
      enableSharedCrosshair={false} structureRev={1} timeRange={range} getActions={() => []} />;
  const values = () => D.getFieldDisplayValues({ fieldConfig: p.fieldConfig, reduceOptions: p.options.reduceOptions, data: ready, theme,
    replaceVariables: (s: string) => s, timeZone: 'browser', sparkline: p.options.graphMode !== 'none' });
  const repeated = { getValues: values, getAlignmentFactors: D.getDisplayValueAlignmentFactors, width: w, height: h, source: ready, renderCounter: 0, orientation: p.options.orientation };
  if (p.type === 'stat')
    return <U.VizRepeater {...repeated} autoGrid renderValue={({ value, width: each, height: high, alignmentFactors, orientation, count }: any) =>
      <U.BigValue value={value.display} sparkline={value.sparkline} width={each} height={high} theme={theme} count={count} alignmentFactors={alignmentFactors}
        parentOrientation={orientation} colorMode={p.options.colorMode} graphMode={p.options.graphMode} justifyMode={p.options.justifyMode} text={p.options.text}
        disableWideLayout={!p.options.wideLayout} textMode={p.options.textMode === 'auto' && p.fieldConfig.defaults.displayName ? 'value_and_name' : p.options.textMode} />} />;
  if (p.type === 'bargauge')
    return <U.VizRepeater {...repeated} minVizWidth={p.options.minVizWidth} minVizHeight={p.options.minVizHeight} maxVizHeight={p.options.maxVizHeight}
      itemSpacing={p.options.displayMode === 'lcd' ? 2 : 10} renderValue={({ value, width: each, height: high, alignmentFactors, orientation }: any) =>
        <U.BarGauge value={value.display} field={value.field} width={each} height={high} theme={theme} orientation={orientation} text={p.options.text}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)} itemSpacing={10} displayMode={p.options.displayMode} alignmentFactors={alignmentFactors}
          showUnfilled={p.options.showUnfilled} valueDisplayMode={p.options.valueMode} namePlacement={p.options.namePlacement} />} />;
  throw new Error(`a panel of type ${p.type} can't be drawn`);
}
class Guard extends Component<any, any> {
  state: any = {};
  static getDerivedStateFromError(error: any) { return { error }; }
  render() { return this.state.error ? <pre className="failed">{String(this.state.error?.stack ?? this.state.error).slice(0, 600)}</pre> : this.props.children; }
}

/** Lay panels out: rows collapsed (a line each), or open, with what follows moved down; on a phone one by one. */
function layOut(panels: any[], collapsed: boolean) {
  const laid: any[] = [];
  let shift = 0;
  const ordered = (some: any[]) => [...some].sort((p, q) => p.gridPos.y - q.gridPos.y || p.gridPos.x - q.gridPos.x);
  for (const panel of ordered(panels)) {
    laid.push({ panel, y: panel.gridPos.y + shift });
    if (panel.type !== 'row' || collapsed || !panel.panels?.length) continue;
    const first = Math.min(...panel.panels.map((p: any) => p.gridPos.y));
    const last = Math.max(...panel.panels.map((p: any) => p.gridPos.y + p.gridPos.h));
    for (const inner of ordered(panel.panels)) laid.push({ panel: inner, y: panel.gridPos.y + shift + 1 + inner.gridPos.y - first });
    shift += last - first;
  }
  let below = 0;
  return laid.map(({ panel, y }) => {
    const { x, w, h } = panel.gridPos;
    const top = phone ? below : y * (30 + GAP);
    below = top + pixels(h) + GAP;
    return { panel, top, left: phone ? EDGE : EDGE + x * column, w: phone ? width - 2 * EDGE : w * column - GAP, h: pixels(h) };
  });
}

async function main() {
  const dashboard = await (await fetch('/dashboard.json')).json();
  const variables = dashboard.templating.list;
  const happened = await events(dashboard, variables);
  const HEAD = 44;
  const drawn = [];
  for (const place of layOut(dashboard.panels, asked.get('first-screen') === 'true')) {
    let frames: any[] = []; let error = '';
    try { if (!['row', 'text'].includes(place.panel.type)) frames = await load(place.panel, variables, place.w - 16); } catch (e) { error = String(e); }
    drawn.push({ ...place, frames, error, p: place.panel.type === 'row' ? place.panel : complete(place.panel) });
  }
  const height = HEAD + GAP + Math.max(...drawn.map(({ top, h }) => top + h));
  const time = (at: number) => new Date(at).toISOString().slice(11, 16);
  createRoot(document.getElementById('root')!).render(
    <D.ThemeContext.Provider value={theme}>
      <div style={{ position: 'relative', height }}>
        <div style={{ padding: `12px ${EDGE}px`, display: 'flex', justifyContent: 'space-between' }}>
          <span style={{ fontSize: 16, fontWeight: 500 }}>{dashboard.title}</span><span style={{ opacity: 0.7 }}>{time(from)} to {time(to)}</span>
        </div>
        {drawn.map(({ p, top, left, w, h, frames, error }, i) => p.type === 'row'
          ? <div key={i} style={{ position: 'absolute', top: HEAD + top, left, width: w, height: h, lineHeight: `${h}px`, overflow: 'hidden', whiteSpace: 'nowrap', textOverflow: 'ellipsis', fontWeight: 500 }}>
              {asked.get('first-screen') === 'true' ? '›' : '⌄'}&ensp;{p.title} <span style={{ opacity: 0.6, fontWeight: 400 }}>({p.panels?.length ?? 0} panels)</span>
            </div>
          : <div key={i} className="panel" data-type={p.type} data-title={p.title ?? ''} data-error={error} data-series={frames.length || Number(p.type === 'text')}
              style={{ position: 'absolute', top: HEAD + top, left }}>
              <U.PanelChrome title={p.title} description={p.description} width={w} height={h}>
                {(inner: number, high: number) => error ? <pre className="failed">{error}</pre> : <Guard><Visual p={p} frames={frames} happened={happened} w={inner} h={high} /></Guard>}
              </U.PanelChrome>
            </div>)}
      </div>
    </D.ThemeContext.Provider>);
  return height;
}
main().then((height) => setTimeout(() => { (window as any).drawn = { height, error: '' }; }, 800))
  .catch((error) => { (window as any).drawn = { height: 100, error: String(error.stack) }; });
