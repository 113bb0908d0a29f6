import { type CSSVariablesResolver, Table, Tooltip, createTheme } from '@mantine/core';

/** Calm and dense. Colours mean a state; everything else is grey. Text has a contrast of 4.5 at least in both schemes. */
export const theme = createTheme({
  primaryColor: 'weir',
  primaryShade: { light: 8, dark: 8 },
  colors: {
    weir: ['#eef8fa', '#d9ecf1', '#b0d9e3', '#84c6d6', '#61b6cb', '#4cacc4', '#3ea6c0', '#2b8ea7', '#1b7389', '#0d5a6d'],
  },
  fontFamily: 'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "JetBrains Mono", "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem' },
  headings: { fontWeight: '600', sizes: { h1: { fontSize: '1.25rem' }, h2: { fontSize: '1rem' }, h3: { fontSize: '0.875rem' } } },
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Table: Table.extend({ defaultProps: { verticalSpacing: 6, horizontalSpacing: 'sm', fz: 'sm' } }),
    Tooltip: Tooltip.extend({ defaultProps: { openDelay: 300, withArrow: true, multiline: true, maw: 360, events: { hover: true, focus: true, touch: true } } }),
  },
});

/** The library's dimmed text is too faint for small print. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#5b636c',
    '--mantine-color-placeholder': '#6a727b',
    '--mantine-color-error': '#c92a2a',
    '--weir-surface': '#f7f8f9',
    '--weir-good': '#2b8a3e',
    '--weir-bad': '#c92a2a',
    '--weir-warning': '#a65d00',
    '--weir-busy': '#1b7389',
    '--weir-idle': '#5b636c',
  },
  dark: {
    '--mantine-color-dimmed': '#a8adb3',
    '--mantine-color-placeholder': '#9a9fa5',
    '--mantine-color-error': '#ff8787',
    '--mantine-color-anchor': 'var(--mantine-color-weir-4)',
    '--weir-surface': '#1f1f1f',
    '--weir-good': '#69db7c',
    '--weir-bad': '#ff8787',
    '--weir-warning': '#ffc078',
    '--weir-busy': '#61b6cb',
    '--weir-idle': '#a8adb3',
  },
});
