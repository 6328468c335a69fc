"""How the page of a check looks: one Jinja template that loads nothing."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Check of {{ data }}</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#d5d9de, #3a4048); --soft: light-dark(#f4f6f8, #1d2126);
  --text: light-dark(#1b1f24, #e4e8ec); --dim: light-dark(#5a636e, #9aa4af); --error: light-dark(#b3261e, #ff8a80);
  --warning: light-dark(#8a5a00, #ffc861); --good: light-dark(#1a6e3c, #7fd8a0); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: light-dark(#fff, #14171a);
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 0; }
.dim { color: var(--dim); } .error { color: var(--error); }
.warning { color: var(--warning); } .good { color: var(--good); }
.verdict { font-size: 1.15rem; font-weight: 600; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; margin: 1rem 0; }
section > p { margin: .3rem 0 .6rem; }
.examples { display: flex; flex-wrap: wrap; gap: .7rem; }
.together { display: flex; gap: .4rem; background: var(--soft); border-radius: 6px; padding: .4rem; }
figure { margin: 0; width: 9rem; } figure img { max-width: 100%; display: block; border: 1px solid var(--line); }
figcaption { font-size: .72rem; line-height: 1.3; overflow-wrap: anywhere; margin-top: .2rem; }
.none { height: 5rem; display: grid; place-items: center; border: 1px dashed var(--line); font-size: .8rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); } td.number, th.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; }
details ul { columns: 2; font-size: .8rem; overflow-wrap: anywhere; }
a { color: inherit; }
</style>
</head>
<body>
<h1>Check of {{ data }}</h1>
<p class="dim">{{ told.images }} images ({{ labels.ok }} ok, {{ labels.defect }} defect) of {{ told.groups }} groups</p>
<p class="verdict">{% if told.sound %}<span class="good">Sound</span>{% else %}
<span class="error">Training would be unsound</span>{% endif %}

<span class="dim">· {{ counts.error }} error{{ "" if counts.error == 1 else "s" }},
{{ counts.warning }} warning{{ "" if counts.warning == 1 else "s" }}</span></p>
{% if told.findings %}
<table>
<tr><th>severity</th><th>finding</th><th class="number">images</th></tr>
{% for found in told.findings %}
<tr><td class="{{ found.severity }}">{{ found.severity }}</td>
<td><a href="#finding-{{ loop.index }}">{{ found.kind }}</a></td>
<td class="number">{{ found.files | length if found.files else "" }}</td></tr>
{% endfor %}
</table>
{% else %}
<p>No finding.</p>
{% endif %}
{% for found in told.findings %}
<section id="finding-{{ loop.index }}">
<h2><span class="{{ found.severity }}">{{ found.severity }}</span> {{ found.kind }}</h2>
<p>{{ found.message }}</p>
{% if found.examples %}
<div class="examples">
{% for together in found.examples %}
<div class="together">
{% for one in together %}
<figure>
{% if one.source %}<img src="{{ one.source }}" alt="{{ one.caption }}">
{% else %}<div class="none">unreadable</div>{% endif %}
<figcaption>{{ one.caption }}<br><span class="dim">{{ one.label }}</span></figcaption>
</figure>
{% endfor %}
</div>
{% endfor %}
</div>
{% endif %}
{% if found.files | length > found.examples | length %}
<details><summary class="dim">all {{ found.files | length }} files</summary>
<ul>{% for file in found.files[:1000] %}<li>{{ file }}</li>{% endfor %}</ul>
{% if found.files | length > 1000 %}
<p class="dim">and {{ found.files | length - 1000 }} more in check.json</p>
{% endif %}
</details>
{% endif %}
</section>
{% endfor %}
{% if told.shortcuts %}
<section>
<h2>What one figure tells of the label</h2>
<p>A threshold on one figure of the image, set on some groups and tried on the others. A coin has 50&nbsp;%: far above
it, a network can reach a good score on this folder without looking at the surface.</p>
<table>
<tr><th>figure</th><th class="number">balanced accuracy</th><th class="number">95&nbsp;% interval</th>
<th class="number">median ok</th><th class="number">median defect</th></tr>
{% for one in told.shortcuts %}
<tr><td>{{ one.figure }}</td><td class="number">{{ "%.0f" | format(100 * one.accuracy) }}&nbsp;%</td>
<td class="number">{{ "%.0f" | format(100 * one.low) }} to {{ "%.0f" | format(100 * one.high) }}&nbsp;%</td>
<td class="number">{{ "%.3g" | format(one.ok) }}</td><td class="number">{{ "%.3g" | format(one.defect) }}</td></tr>
{% endfor %}
</table>
</section>
{% endif %}
</body>
</html>
"""
