package main

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// chart draws durable appends by how many goroutines make them, as parts of what the disk
// does without a log, to an SVG file.
func chart(rep *load.Report, path string) error {
	p, legend := plot.New(), plot.NewLegend()
	p.Title.Text = fmt.Sprintf("Durable appends of %d bytes, of what the disk does", load.CommonSize)
	p.X.Label.Text, p.Y.Label.Text = "goroutines", "of the raw loop"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks(load.Goroutines)
	p.Y.Min, p.Y.Max = 0, 1
	legend.Top, legend.Left, legend.Padding = true, true, vg.Points(4)
	p.Add(plotter.NewGrid())
	for i, name := range rep.Targets {
		points := lineOf(rep, name)
		if len(points) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color = hues[i%len(hues)]
		line.Width = vg.Points(1)
		if i == 0 {
			line.Width = vg.Points(2.5)
		}
		marks.Color, marks.Shape, marks.Radius = line.Color, draw.CircleGlyph{}, vg.Points(2)
		p.Add(line, marks)
		legend.Add(name, line)
		for _, pt := range points {
			p.Y.Max = max(p.Y.Max, pt.Y)
		}
	}
	const width, height, side, margin = 23 * vg.Centimeter, 11 * vg.Centimeter, 7 * vg.Centimeter, vg.Centimeter / 2
	svg := vgsvg.New(width, height)
	all := draw.New(svg)
	all.FillPolygon(color.White, []vg.Point{{}, {X: width}, {X: width, Y: height}, {Y: height}})
	p.Draw(draw.Crop(all, margin, -side-margin, margin, -margin))
	legend.Draw(draw.Crop(all, width-side, -margin, margin, -2*margin)) // beside the lines, and not over them
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = svg.WriteTo(file)
	return errors.Join(err, file.Close())
}

// hues tell the targets apart: this log has the blue ones, the first the strongest.
var hues = []color.Color{
	color.RGBA{0x0b, 0x5c, 0xad, 0xff}, color.RGBA{0x5a, 0xa2, 0xe0, 0xff}, color.RGBA{0x15, 0xb8, 0xd0, 0xff},
	color.RGBA{0x1b, 0x7e, 0x4f, 0xff}, color.RGBA{0x8c, 0xc0, 0x4e, 0xff}, color.RGBA{0xd9, 0x5f, 0x02, 0xff},
	color.RGBA{0xe6, 0xab, 0x02, 0xff}, color.RGBA{0xe7, 0x29, 0x8a, 0xff}, color.RGBA{0x75, 0x70, 0xb3, 0xff},
	color.RGBA{0x66, 0x66, 0x66, 0xff}, color.RGBA{0x8c, 0x51, 0x0a, 0xff},
}

// lineOf returns what a target did of the raw loop at each number of goroutines.
func lineOf(rep *load.Report, target string) (points plotter.XYs) {
	for _, n := range load.Goroutines {
		i := slices.IndexFunc(rep.Measured, func(m load.Measured) bool {
			return m.Workload == load.Durable(n, load.CommonSize).Name
		})
		if i < 0 {
			continue
		}
		if v, ok := rep.Measured[i].OfLimit(target); ok {
			points = append(points, plotter.XY{X: float64(n), Y: v})
		}
	}
	return points
}

// ticks marks the given numbers.
func ticks(at []int) (marks plot.ConstantTicks) {
	for _, n := range at {
		marks = append(marks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return marks
}
